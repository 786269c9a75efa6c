//! Encoders as candle graphs: training, GPU and float64.
