//! [`DeviceChoice`]: which device a graph runs on.

use std::str::FromStr;

use candle_core::{Device, Error};
use st_encoder::EncoderError;

use crate::error::{failed, unsupported};

/// A device by kind and number.
///
/// ```
/// use st_candle::DeviceChoice;
///
/// assert_eq!("cuda:1".parse::<DeviceChoice>()?, DeviceChoice::Cuda(1));
/// assert_eq!(DeviceChoice::Metal(0).to_string(), "metal:0");
/// assert!(DeviceChoice::Cpu.open()?.is_cpu());
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// A CUDA device, by its number. Needs the feature `cuda`.
    Cuda(usize),
    /// An Apple GPU, by its number. Needs the feature `metal`.
    Metal(usize),
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// [`EncoderError::Unsupported`] where this build lacks the device's feature, [`EncoderError::Execution`] where the
    /// machine lacks the device.
    pub fn open(self) -> Result<Device, EncoderError> {
        let opened = match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => Device::new_cuda(number),
            Self::Metal(number) => Device::new_metal(number),
        };
        opened.map_err(|error| match bare(error) {
            Error::NotCompiledWithCudaSupport => unsupported("this build has no CUDA; build with the feature `cuda`"),
            Error::NotCompiledWithMetalSupport => {
                unsupported("this build has no Metal; build with the feature `metal`")
            }
            other => failed(other),
        })
    }
}

/// An error without the backtrace that candle wraps around it where backtraces are switched on.
fn bare(error: Error) -> Error {
    match error {
        Error::WithBacktrace { inner, .. } => bare(*inner),
        other => other,
    }
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
            Self::Metal(number) => write!(formatter, "metal:{number}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = EncoderError;

    /// Reads `cpu`, `cuda`, `cuda:1`, `metal` and PyTorch's name for it, `mps`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
        match (kind, number.parse()) {
            ("cpu", Ok(0)) => Ok(Self::Cpu),
            ("cuda", Ok(number)) => Ok(Self::Cuda(number)),
            ("metal" | "mps", Ok(number)) => Ok(Self::Metal(number)),
            _ => Err(unsupported(format!("device '{name}' is not one of cpu, cuda, cuda:N, metal, metal:N"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for choice in [DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Cuda(7), DeviceChoice::Metal(1)] {
            assert_eq!(choice.to_string().parse::<DeviceChoice>().unwrap(), choice);
        }
        assert_eq!("mps".parse::<DeviceChoice>().unwrap(), DeviceChoice::Metal(0));
        for name in ["", "gpu", "cuda:", "cuda:x", "cpu:1", "cuda:-1"] {
            let message = name.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(message.contains(&format!("device '{name}'")), "{message}");
        }
    }

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn a_build_without_a_device_says_which_feature_is_missing() {
        let message = |choice: DeviceChoice| choice.open().unwrap_err().to_string();
        assert!(message(DeviceChoice::Cuda(0)).contains("feature `cuda`"));
        assert!(message(DeviceChoice::Metal(0)).contains("feature `metal`"));
    }
}
