//! An executor of [`EncoderSpec`] in 64-bit floats that reads like the formulas: slow, and the measure of the fast ones.

use st_encoder::{
    Activation, AttentionMask, AttentionPosition, AttentionSpec, EncoderSpec, LayerSlot, NormKind, NormPlacement,
    NormSpec, Part, PositionSpec, Slot, alibi_slopes, rotary_wave_numbers,
};

/// One row per token.
pub(crate) type Rows = Vec<Vec<f64>>;

/// A described network and where its numbers are.
pub(crate) struct Reference<'a> {
    pub(crate) spec: &'a EncoderSpec,
    /// The numbers of a slot, row-major; `None` when the network has no such slot.
    pub(crate) numbers: &'a dyn Fn(Slot) -> Option<Vec<f64>>,
    /// The patches of an image, where the network reads such instead of ids.
    pub(crate) patches: Option<Rows>,
}

impl Reference<'_> {
    /// Last hidden state of one text.
    pub(crate) fn run(&self, ids: &[usize], types: &[usize]) -> Rows {
        let mut states = self.embed(ids, types);
        for layer in 0..self.spec.layers.len() {
            states = self.block(layer, states);
        }
        match self.spec.final_norm {
            Some(norm) => self.norm(&states, &norm, Slot::FinalNorm),
            None => states,
        }
    }

    fn embed(&self, ids: &[usize], types: &[usize]) -> Rows {
        let embeddings = &self.spec.embeddings;
        let width = embeddings.width;
        let table = |slot, index: usize| self.get(slot)[index * width..][..width].to_vec();
        let scale = embeddings.scale.map_or(1.0, f64::from);
        let mut rows: Rows = match &self.patches {
            None => ids.iter().map(|&id| table(Slot::WordEmbedding, id).iter().map(|x| x * scale).collect()).collect(),
            Some(patches) => {
                let map = self.get(Slot::PatchProjection);
                let mapped = |patch: &Vec<f64>| map.chunks(patch.len()).map(|weights| dot(weights, patch)).collect();
                std::iter::once(self.get(Slot::ClassEmbedding)).chain(patches.iter().map(mapped)).collect()
            }
        };
        if let PositionSpec::Learned { offset, padding, .. } = embeddings.positions {
            let mut next = offset;
            for (row, &id) in rows.iter_mut().zip(ids) {
                let is_padding = padding == Some(id as u32);
                let position = if is_padding { id } else { next };
                next += usize::from(!is_padding);
                add(row, &table(Slot::PositionEmbedding, position));
            }
        }
        if embeddings.token_types > 0 {
            for (row, &kind) in rows.iter_mut().zip(types) {
                add(row, &table(Slot::TokenTypeEmbedding, kind));
            }
        }
        if let Some(norm) = embeddings.norm {
            rows = self.norm(&rows, &norm, Slot::EmbeddingNorm);
        }
        if embeddings.projection.is_some() {
            rows = self.linear(&rows, Slot::EmbeddingProjection);
        }
        rows
    }

    fn block(&self, layer: usize, states: Rows) -> Rows {
        let Some(convolution) = &self.spec.layers[layer].convolution else { return self.plain_block(layer, states) };
        let at = |place: fn(Part) -> LayerSlot| move |part| Slot::Layer { layer, slot: place(part) };
        let (weight, bias) =
            (self.get(at(LayerSlot::Convolution)(Part::Weight)), at(LayerSlot::Convolution)(Part::Bias));
        let (bias, middle) = (self.get(bias), convolution.kernel / 2);
        let width = self.spec.hidden / convolution.groups;
        let output = |token: usize, component: usize| {
            let mut sum = bias[component];
            for (input, weights) in weight.chunks(convolution.kernel).skip(component * width).take(width).enumerate() {
                for (tap, weight) in weights.iter().enumerate() {
                    let neighbour = (token + tap).checked_sub(middle).and_then(|place| states.get(place));
                    sum += neighbour.map_or(0.0, |row| row[component / width * width + input] * weight);
                }
            }
            activate(convolution.activation, sum)
        };
        let row = |token: usize| (0..bias.len()).map(|component| output(token, component)).collect();
        let convolved = (0..states.len()).map(row).collect();
        let states = sum(&self.plain_block(layer, states), &convolved);
        self.norm(&states, &convolution.norm, at(LayerSlot::ConvolutionNorm))
    }

    fn plain_block(&self, layer: usize, states: Rows) -> Rows {
        let spec = &self.spec.layers[layer];
        let at = |place: fn(Part) -> LayerSlot| move |part| Slot::Layer { layer, slot: place(part) };
        let attention_norm = |rows: &Rows| match &spec.attention_norm {
            Some(norm) => self.norm(rows, norm, at(LayerSlot::AttentionNorm)),
            None => rows.clone(),
        };
        let feed_forward_norm = |rows: &Rows| self.norm(rows, &spec.feed_forward_norm, at(LayerSlot::FeedForwardNorm));
        match spec.placement {
            NormPlacement::Post => {
                let states = attention_norm(&sum(&states, &self.attention(layer, &states)));
                feed_forward_norm(&sum(&states, &self.feed_forward(layer, &states)))
            }
            NormPlacement::Pre => {
                let states = sum(&states, &self.attention(layer, &attention_norm(&states)));
                sum(&states, &self.feed_forward(layer, &feed_forward_norm(&states)))
            }
            NormPlacement::Sandwich => {
                let norm = spec.attention_norm.expect("a sandwich has norms");
                let attended = self.attention(layer, &attention_norm(&states));
                let states = sum(&states, &self.norm(&attended, &norm, at(LayerSlot::AttentionPostNorm)));
                let fed = self.feed_forward(layer, &feed_forward_norm(&states));
                sum(&states, &self.norm(&fed, &spec.feed_forward_norm, at(LayerSlot::FeedForwardPostNorm)))
            }
        }
    }

    fn feed_forward(&self, layer: usize, states: &Rows) -> Rows {
        let spec = &self.spec.layers[layer].feed_forward;
        let at = |place: fn(Part) -> LayerSlot| move |part| Slot::Layer { layer, slot: place(part) };
        let mut inner = self.linear(states, at(LayerSlot::FeedForwardUp));
        if spec.gated {
            let gate = self.linear(states, at(LayerSlot::FeedForwardGate));
            for (inner, gate) in inner.iter_mut().flatten().zip(gate.iter().flatten()) {
                *inner *= activate(spec.activation, *gate);
            }
        } else {
            inner.iter_mut().flatten().for_each(|x| *x = activate(spec.activation, *x));
        }
        self.linear(&inner, at(LayerSlot::FeedForwardDown))
    }

    fn attention(&self, layer: usize, states: &Rows) -> Rows {
        let spec = &self.spec.layers[layer].attention;
        let at = |place: fn(Part) -> LayerSlot| move |part| Slot::Layer { layer, slot: place(part) };
        let mut queries = self.heads(states, at(LayerSlot::Query), spec);
        let mut keys = self.heads(states, at(LayerSlot::Key), spec);
        let values = self.heads(states, at(LayerSlot::Value), spec);
        if let Some(norm) = &spec.query_key_norm {
            queries = queries.iter().map(|rows| self.norm(rows, norm, at(LayerSlot::QueryNorm))).collect();
            keys = keys.iter().map(|rows| self.norm(rows, norm, at(LayerSlot::KeyNorm))).collect();
        }
        if let AttentionPosition::Rotary { base, dimensions, scaling } = spec.position {
            let waves = rotary_wave_numbers(base, dimensions, scaling);
            queries.iter_mut().chain(&mut keys).for_each(|rows| rotate(rows, &waves));
        }
        // Queries and keys of relative positions, by the projections of the content.
        let relative = match spec.position {
            AttentionPosition::Disentangled { terms, own_projections, .. } => {
                let table = self.get(Slot::RelativeEmbedding);
                let table: Rows = table.chunks(self.spec.hidden).map(<[f64]>::to_vec).collect();
                let norm = self.spec.embeddings.norm.expect("DeBERTa has a norm of its embeddings");
                let table = self.norm(&table, &norm, Slot::RelativeEmbeddingNorm);
                let project = |own: fn(Part) -> LayerSlot, shared: fn(Part) -> LayerSlot| {
                    self.heads(&table, at(if own_projections { own } else { shared }), spec)
                };
                (
                    terms.has_queries().then(|| project(LayerSlot::PositionQuery, LayerSlot::Query)),
                    terms.has_keys().then(|| project(LayerSlot::PositionKey, LayerSlot::Key)),
                )
            }
            _ => (None, None),
        };
        let tokens = states.len();
        let mut attended = vec![Vec::new(); tokens];
        for (head, queries) in queries.iter().enumerate() {
            let group = head * spec.key_value_heads / spec.heads;
            for (row, query) in queries.iter().enumerate() {
                let mut weights = vec![0.0; tokens];
                for (column, weight) in weights.iter_mut().enumerate() {
                    let mut score = spec.scale * dot(query, &keys[group][column]);
                    if let AttentionPosition::Disentangled { span, max_distance, .. } = spec.position {
                        let place = |distance: i64| {
                            let bucket = logarithmic(distance, span, max_distance);
                            (bucket + span as i64).clamp(0, 2 * span as i64 - 1) as usize
                        };
                        let distance = row as i64 - column as i64;
                        let mirrored = (span as i64 - logarithmic(-distance, span, max_distance))
                            .clamp(0, 2 * span as i64 - 1) as usize;
                        let (relative_queries, relative_keys) = &relative;
                        if let Some(relative_keys) = relative_keys {
                            score += spec.scale * dot(query, &relative_keys[group][place(distance)]);
                        }
                        if let Some(relative_queries) = relative_queries {
                            score += spec.scale * dot(&keys[group][column], &relative_queries[head][mirrored]);
                        }
                    }
                    score += self.bias(spec, head, row, column);
                    *weight = if visible(spec.mask, row, column) { score } else { f64::NEG_INFINITY };
                }
                softmax(&mut weights);
                let mut mixed = vec![0.0; spec.head_size];
                for (weight, value) in weights.iter().zip(&values[group]) {
                    mixed.iter_mut().zip(value).for_each(|(x, y)| *x += weight * y);
                }
                attended[row].extend(mixed);
            }
        }
        self.linear(&attended, at(LayerSlot::AttentionOutput))
    }

    fn bias(&self, spec: &AttentionSpec, head: usize, row: usize, column: usize) -> f64 {
        match spec.position {
            AttentionPosition::RelativeBias { buckets, max_distance } => {
                let bucket = t5_bucket(column as i64 - row as i64, buckets, max_distance);
                self.get(Slot::RelativeBias)[bucket * spec.heads + head]
            }
            AttentionPosition::Alibi => -alibi_slopes(spec.heads)[head] * row.abs_diff(column) as f64,
            _ => 0.0,
        }
    }

    /// A projection, cut into heads: `[head][token][component]`.
    fn heads(&self, states: &Rows, slot: impl Fn(Part) -> Slot, spec: &AttentionSpec) -> Vec<Rows> {
        let projected = self.linear(states, slot);
        let count = projected[0].len() / spec.head_size;
        let cut = |head: usize| -> Rows {
            projected.iter().map(|row| row[head * spec.head_size..][..spec.head_size].to_vec()).collect()
        };
        (0..count).map(cut).collect()
    }

    fn linear(&self, rows: &Rows, slot: impl Fn(Part) -> Slot) -> Rows {
        let weight = self.get(slot(Part::Weight));
        let bias = (self.numbers)(slot(Part::Bias));
        let project = |row: &Vec<f64>| {
            let outputs = weight.chunks(row.len()).map(|weights| dot(weights, row));
            outputs.enumerate().map(|(n, x)| x + bias.as_ref().map_or(0.0, |bias| bias[n])).collect()
        };
        rows.iter().map(project).collect()
    }

    fn norm(&self, rows: &Rows, spec: &NormSpec, slot: impl Fn(Part) -> Slot) -> Rows {
        let weight = self.get(slot(Part::Weight));
        let bias = spec.bias.then(|| self.get(slot(Part::Bias)));
        let offset = if spec.unit_offset { 1.0 } else { 0.0 };
        let normalise = |row: &Vec<f64>| {
            let count = row.len() as f64;
            let mean = match spec.kind {
                NormKind::Layer => row.iter().sum::<f64>() / count,
                NormKind::RootMeanSquare => 0.0,
            };
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let scaled =
                row.iter().zip(&weight).map(|(x, w)| (x - mean) / (variance + spec.epsilon).sqrt() * (w + offset));
            scaled.enumerate().map(|(n, x)| x + bias.as_ref().map_or(0.0, |bias| bias[n])).collect()
        };
        rows.iter().map(normalise).collect()
    }

    fn get(&self, slot: Slot) -> Vec<f64> {
        (self.numbers)(slot).unwrap_or_else(|| panic!("{slot:?} is missing"))
    }
}

fn add(row: &mut [f64], other: &[f64]) {
    row.iter_mut().zip(other).for_each(|(x, y)| *x += y);
}

fn sum(rows: &Rows, others: &Rows) -> Rows {
    rows.iter().zip(others).map(|(row, other)| row.iter().zip(other).map(|(x, y)| x + y).collect()).collect()
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(x, y)| x * y).sum()
}

fn softmax(scores: &mut [f64]) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let total: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|x| *x /= total);
}

fn visible(mask: AttentionMask, row: usize, column: usize) -> bool {
    match mask {
        AttentionMask::Full => true,
        AttentionMask::Causal => column <= row,
        AttentionMask::Window { reach } => row.abs_diff(column) <= reach,
        AttentionMask::CausalWindow { reach } => column <= row && row - column <= reach,
    }
}

fn rotate(rows: &mut Rows, waves: &[f64]) {
    for (position, row) in rows.iter_mut().enumerate() {
        for (pair, wave) in waves.iter().enumerate() {
            let (sine, cosine) = (position as f64 * wave).sin_cos();
            let (first, second) = (row[pair], row[pair + waves.len()]);
            row[pair] = first * cosine - second * sine;
            row[pair + waves.len()] = second * cosine + first * sine;
        }
    }
}

/// Raffel et al. 2020: half the buckets for each direction, half of those exact, the rest logarithmic.
fn t5_bucket(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let side = if distance > 0 { half } else { 0 };
    let (distance, exact) = (distance.unsigned_abs() as usize, half / 2);
    if distance < exact {
        return side + distance;
    }
    let ratio = (distance as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
    side + (exact + (ratio * (half - exact) as f32) as usize).min(half - 1)
}

/// He et al. 2021: distances up to half the span are exact, the rest logarithmic.
fn logarithmic(distance: i64, span: usize, max_distance: Option<usize>) -> i64 {
    let middle = (span / 2) as i64;
    match max_distance {
        Some(furthest) if distance.abs() > middle => {
            let ratio = (distance.abs() as f32 / middle as f32).ln() / ((furthest - 1) as f32 / middle as f32).ln();
            ((ratio * (middle - 1) as f32).ceil() as i64 + middle) * distance.signum()
        }
        _ => distance,
    }
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Gelu => x * 0.5 * (1.0 + error_function(x / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
    }
}

/// By a series of positive terms, which loses no digits (Abramowitz & Stegun 7.1.6); beyond 6 it is ±1.
fn error_function(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut total) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        total += term;
    }
    total * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt()
}
