//! What the inputs of linear layers look like: ranges and means per component.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use st_encoder::{Batch, EncoderError, PatchSpec};

use crate::kernels::Kernels;
use crate::kernels::observe::ObserveCall;

/// The inputs that one layer has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observations {
    pub(crate) smallest: Vec<f32>,
    pub(crate) largest: Vec<f32>,
    sums: Vec<f32>,
    rows: usize,
}

impl Observations {
    fn add(&mut self, kernels: &Kernels, rows: usize, input: &[f32], stride: usize, depth: usize) {
        if self.sums.is_empty() {
            self.smallest = vec![f32::INFINITY; depth];
            self.largest = vec![f32::NEG_INFINITY; depth];
            self.sums = vec![0.0; depth];
        }
        assert!(depth == self.sums.len() && input.len() >= (rows - 1) * stride + depth, "rows too short");
        let call = ObserveCall {
            rows,
            width: depth,
            input: input.as_ptr(),
            input_stride: stride,
            smallest: self.smallest.as_mut_ptr(),
            largest: self.largest.as_mut_ptr(),
            sum: self.sums.as_mut_ptr(),
        };
        // SAFETY: the rows exist, and there is a number per column of what is found.
        unsafe { (kernels.observe)(&call) };
        self.rows += rows;
    }

    /// Adds what was seen elsewhere.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.sums.is_empty() {
            self.clone_from(other);
            return;
        }
        for (j, &sum) in other.sums.iter().enumerate() {
            self.smallest[j] = self.smallest[j].min(other.smallest[j]);
            self.largest[j] = self.largest[j].max(other.largest[j]);
            self.sums[j] += sum;
        }
        self.rows += other.rows;
    }

    /// Mean of component `j`.
    pub(crate) fn mean(&self, j: usize) -> f32 {
        self.sums[j] / self.rows.max(1) as f32
    }
}

thread_local! {
    static OBSERVING: RefCell<Option<HashMap<usize, Observations>>> = const { RefCell::new(None) };
}

/// Runs something and returns what the linear layers that ran on this thread meanwhile have seen, by their address.
pub(crate) fn observe(work: impl FnOnce()) -> HashMap<usize, Observations> {
    OBSERVING.set(Some(HashMap::new()));
    work();
    OBSERVING.take().unwrap_or_default()
}

/// Says that a layer runs over rows.
pub(crate) fn note(kernels: &Kernels, layer: usize, rows: usize, input: &[f32], stride: usize, depth: usize) {
    OBSERVING.with_borrow_mut(|observing| {
        if let Some(layers) = observing {
            layers.entry(layer).or_default().add(kernels, rows, input, stride, depth);
        }
    });
}

/// The ids that a tokenizer puts before and after a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Frame {
    /// Reads a `tokenizer.json`. Without one, or with a post-processor of another kind, there is no frame: calibration is
    /// then a little less apt, nothing else.
    pub(crate) fn of(folder: &Path) -> Self {
        std::fs::read(folder.join("tokenizer.json"))
            .ok()
            .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
            .and_then(|tokenizer| Self::of_processor(tokenizer.get("post_processor")?))
            .unwrap_or_default()
    }

    fn of_processor(processor: &Value) -> Option<Self> {
        let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
        match processor.get("type")?.as_str()? {
            "Sequence" => processor.get("processors")?.as_array()?.iter().find_map(Self::of_processor),
            "BertProcessing" | "RobertaProcessing" => Some(Self {
                before: vec![id(processor.get("cls")?.get(1)?)?],
                after: vec![id(processor.get("sep")?.get(1)?)?],
            }),
            "TemplateProcessing" => {
                let mut frame = Self::default();
                let mut inside = false;
                for piece in processor.get("single")?.as_array()? {
                    let Some(special) = piece.get("SpecialToken") else {
                        inside = true;
                        continue;
                    };
                    let ids = processor.get("special_tokens")?.get(special.get("id")?.as_str()?)?.get("ids")?;
                    let side = if inside { &mut frame.after } else { &mut frame.before };
                    side.extend(ids.as_array()?.iter().filter_map(id));
                }
                Some(frame)
            }
            _ => None,
        }
    }
}

/// Words of the random sequences; some are short, because special tokens stand out most there.
const WORDS: [usize; 12] = [0, 1, 2, 3, 5, 8, 12, 20, 33, 48, 64, 90];
/// Batches; several threads run them.
pub(crate) const PARTS: usize = 4;
/// Where random numbers start; not 0.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15 + 4242;
/// Sequences of each length.
const REPEATS: usize = 1;

/// Batches of sequences of random words, of several lengths: what a model is calibrated on when nothing else is given.
pub(crate) fn random_batches(vocabulary: usize, longest: usize, frame: &Frame) -> Vec<Batch> {
    let mut batches = vec![Batch::new(); PARTS];
    let mut state = SEED;
    let known = |id: &&u32| (**id as usize) < vocabulary;
    for (place, words) in WORDS.iter().flat_map(|&words| [words; REPEATS]).enumerate() {
        let mut ids: Vec<u32> = frame.before.iter().filter(known).copied().collect();
        for _ in 0..words {
            // xorshift64*
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            ids.push(((state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % vocabulary as u64) as u32);
        }
        ids.extend(frame.after.iter().filter(known));
        if ids.len() <= longest {
            batches[place % PARTS].push(&ids);
        }
    }
    batches
}

/// Images of which a model that reads patches is calibrated, per batch.
const IMAGES: usize = 2;

/// Batches of images of waves and noise, with the mean 0 and about the spread 1 that images are brought to.
pub(crate) fn random_images(patches: PatchSpec, longest: usize) -> Result<Vec<Batch>, EncoderError> {
    let mut state = SEED;
    let mut random = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let count = longest.saturating_sub(1).min(256);
    let mut batches = vec![Batch::new(); PARTS];
    for batch in &mut batches {
        for _ in 0..IMAGES {
            let mut image = Vec::with_capacity(count * patches.numbers());
            for _ in 0..count {
                let (level, slope, noise) = (random() * 1.5, random(), random().abs() * 0.3);
                let steps = 0..patches.numbers();
                let wave = |step: usize| (slope * (step % patches.size.max(1)) as f32 / patches.size as f32).sin();
                image.extend(steps.map(|step| level + wave(step) + noise * random()));
            }
            batch.push_patches(&image, patches.numbers())?;
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_usual_post_processors() {
        let template = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
            "special_tokens": {"<s>": {"ids": [7]}, "</s>": {"ids": [8, 9]}},
        });
        let frame = Frame { before: vec![7], after: vec![8, 9] };
        assert_eq!(Frame::of_processor(&template), Some(frame.clone()));
        let sequence = serde_json::json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]});
        assert_eq!(Frame::of_processor(&sequence), Some(frame));
        let bert = serde_json::json!({"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]});
        assert_eq!(Frame::of_processor(&bert), Some(Frame { before: vec![101], after: vec![102] }));
        assert_eq!(Frame::of_processor(&serde_json::json!({"type": "ByteLevel"})), None);
    }

    #[test]
    fn random_sequences_stay_in_the_vocabulary_and_the_positions() {
        let frame = Frame { before: vec![1], after: vec![2, 999] };
        let batches = random_batches(50, 40, &frame);
        assert!(batches.iter().all(|batch| batch.validate(50, 0, Some(40)).is_ok()));
        assert!(batches.iter().map(Batch::len).sum::<usize>() >= 8);
        assert!(batches.iter().all(|batch| (0..batch.len()).all(|i| batch.sequence(i)[0] == 1)));
    }
}
