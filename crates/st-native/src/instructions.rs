//! [`InstructionSet`]: which of the processor's instructions the kernels use.

/// A family of kernels. All compute the same thing; sums are ordered the same way within a set, not across sets.
///
/// ```
/// use st_native::InstructionSet;
///
/// assert!(InstructionSet::Portable.is_available());
/// assert!(InstructionSet::detect().is_available());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InstructionSet {
    /// 512-bit vectors (AVX-512 F, DQ, BW and VL).
    Avx512,
    /// 256-bit vectors (AVX2, FMA and F16C).
    Avx2,
    /// Plain Rust that the compiler turns into whatever vectors the target has.
    Portable,
}

impl InstructionSet {
    /// Every set with its name, the fastest first.
    pub const ALL: [(&'static str, Self); 3] =
        [("avx512", Self::Avx512), ("avx2", Self::Avx2), ("portable", Self::Portable)];

    /// The fastest set that this machine runs.
    #[must_use]
    pub fn detect() -> Self {
        Self::ALL.iter().map(|&(_, set)| set).find(|set| set.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether the processor has these instructions and the operating system keeps their registers.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
                    && std::arch::is_x86_feature_detected!("f16c")
            }
            Self::Portable => true,
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }
}

impl std::fmt::Display for InstructionSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sets_agree() {
        for (name, set) in InstructionSet::ALL {
            assert_eq!(set.as_str(), name);
        }
    }
}
