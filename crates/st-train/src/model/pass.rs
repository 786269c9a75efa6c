//! [`TrainingPass`]: how a model is run.

use crate::random::Generator;

/// Whether dropout is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassMode {
    /// Dropout is active (`model.train()`).
    Training,
    /// Dropout is off (`model.eval()`).
    Evaluation,
}

/// How a model is run: with or without dropout, and what is wanted besides sentence embeddings.
///
/// The random numbers' state moves on with every run. To repeat a run with the same dropout (gradient caching), clone the pass
/// before the first.
///
/// ```
/// use st_train::model::{PassMode, TrainingPass};
/// use st_train::random::Generator;
///
/// let pass = TrainingPass::training(Generator::new(42)).with_layers(true);
/// assert_eq!((pass.mode(), pass.layers(), pass.tokens()), (PassMode::Training, true, false));
/// assert_eq!(TrainingPass::evaluation().mode(), PassMode::Evaluation);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingPass {
    mode: PassMode,
    random: Generator,
    gradients: bool,
    layers: bool,
    tokens: bool,
    checkpointing: bool,
    autocast: bool,
}

impl TrainingPass {
    /// A pass with dropout, drawn from a random numbers' state.
    #[must_use]
    pub fn training(random: Generator) -> Self {
        Self { random, ..Self::new(PassMode::Training) }
    }

    /// A pass without dropout.
    #[must_use]
    pub fn evaluation() -> Self {
        Self::new(PassMode::Evaluation)
    }

    fn new(mode: PassMode) -> Self {
        Self {
            mode,
            random: Generator::new(0),
            gradients: true,
            layers: false,
            tokens: false,
            checkpointing: false,
            autocast: false,
        }
    }

    /// Sets whether the results carry derivatives, as they do by default. Without them no intermediate result is kept.
    #[must_use]
    pub fn with_gradients(mut self, wanted: bool) -> Self {
        self.gradients = wanted;
        self
    }

    /// Sets whether the hidden states of every layer are wanted.
    #[must_use]
    pub fn with_layers(mut self, wanted: bool) -> Self {
        self.layers = wanted;
        self
    }

    /// Sets whether token embeddings are wanted.
    #[must_use]
    pub fn with_tokens(mut self, wanted: bool) -> Self {
        self.tokens = wanted;
        self
    }

    /// Sets whether the encoder's blocks are computed again in the backward pass instead of being kept, as
    /// [`TrainingOptions::gradient_checkpointing`](super::TrainingOptions::gradient_checkpointing) sets for every pass.
    #[must_use]
    pub fn with_gradient_checkpointing(mut self, wanted: bool) -> Self {
        self.checkpointing = wanted;
        self
    }

    /// Sets whether the encoder's linear layers multiply bfloat16, as
    /// [`GraphPass::autocast`](st_candle::GraphPass::autocast) says.
    #[must_use]
    pub fn with_autocast(mut self, wanted: bool) -> Self {
        self.autocast = wanted;
        self
    }

    /// Whether dropout is active.
    #[must_use]
    pub fn mode(&self) -> PassMode {
        self.mode
    }

    /// Whether the results carry derivatives.
    #[must_use]
    pub fn gradients(&self) -> bool {
        self.gradients
    }

    /// Whether the hidden states of every layer are wanted.
    #[must_use]
    pub fn layers(&self) -> bool {
        self.layers
    }

    /// Whether token embeddings are wanted.
    #[must_use]
    pub fn tokens(&self) -> bool {
        self.tokens
    }

    /// Whether the encoder's blocks are computed again in the backward pass.
    #[must_use]
    pub fn gradient_checkpointing(&self) -> bool {
        self.checkpointing
    }

    /// Whether the encoder's linear layers multiply bfloat16.
    #[must_use]
    pub fn autocast(&self) -> bool {
        self.autocast
    }

    /// The random numbers' state as it is now, for checkpoints.
    #[must_use]
    pub fn random(&self) -> &Generator {
        &self.random
    }

    /// The random numbers' state, to draw from it.
    pub fn random_mut(&mut self) -> &mut Generator {
        &mut self.random
    }

    /// A fresh seed for dropout; `None` when dropout is off.
    pub fn dropout_seed(&mut self) -> Option<u64> {
        (self.mode == PassMode::Training).then(|| self.random.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluation_draws_nothing() {
        let mut pass = TrainingPass::evaluation();
        assert_eq!(pass.dropout_seed(), None);
        assert_eq!(pass, TrainingPass::evaluation());
        let mut pass = TrainingPass::training(Generator::new(3));
        let mut again = pass.clone();
        assert_eq!(pass.dropout_seed(), again.dropout_seed());
        assert_ne!(pass.dropout_seed(), again.dropout_seed().map(|seed| seed ^ 1));
    }
}
