//! [`Sample`]: token ids of text, for models that come without any: what calibration runs on.
//!
//! The engine has no tokenizer. It takes a vocabulary from the folder's `tokenizer.json` and cuts the words of a few
//! sentences greedily into the longest pieces there are, which for common words is what the tokenizer itself does. Without
//! a vocabulary that it can read, only random sequences are left.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use st_encoder::{Batch, EncoderError, PatchSpec};

/// Sentences of many kinds, in ASCII.
const SENTENCES: [&str; 34] = [
    "A small brown dog is running across the wet grass.",
    "Two men in red shirts are playing guitar on a stage.",
    "How do I change the password of my account?",
    "The central bank raised interest rates by a quarter of a point on Thursday.",
    "She has never been to the city before, but she likes it very much.",
    "What is the capital of Australia?",
    "Shares of the company fell 3.5 percent to $21.40 after the report.",
    "No.",
    "He didn't say why he was late, and nobody asked him.",
    "The results show that the pressure on the surface decreases with the square of the distance, as the theory predicts.",
    "A woman is slicing an onion in the kitchen while the water boils.",
    "Best Italian restaurant near the old harbour",
    "The president met with leaders from both parties to discuss the new law; no agreement was reached.",
    "good morning",
    "Many plants lose their leaves in winter to save water and energy.",
    "Cells divide and grow when the protein binds to its receptor.",
    "Please return the form by 15 May 2019, together with a copy of your passport.",
    "I can't believe how good this book is! The story is sad, funny and true.",
    "function add(a, b) { return a + b; } // sums two numbers",
    "The children are sitting at a table and eating cake.",
    "Police said three people were killed and at least twelve injured when a bomb exploded outside a market in the north of the country.",
    "physics",
    "Is it safe to take this medicine every day?",
    "Founded in 1887, the football club won its first national title under a Scottish coach.",
    "It was the longest river in Europe, according to the map on the wall of the school.",
    "There is no man on the horse.",
    "Das Kind spielt mit dem Hund im Garten.",
    "La casa de mi hermana es blanca y grande.",
    "The engine of the truck was repaired last week, yet it still makes a strange noise.",
    "music, film and television of the 1990s",
    "He sold his house, bought a boat and sailed around the world with his two daughters.",
    "Why are oil prices rising again?",
    "A person in a blue jacket is jumping over a low wall.",
    "Error 404: the page you are looking for does not exist.",
];

/// Words of the random sequences; some are short, because special tokens stand out most there.
const WORDS: [usize; 12] = [0, 1, 2, 3, 5, 8, 12, 20, 33, 48, 64, 90];
/// Sequences of neighbouring words of the vocabulary, where scripts and signs of a kind often stand together.
const NEIGHBOURS: [usize; 2] = [24, 24];
/// Sequences of one word again and again.
const REPETITIONS: [usize; 2] = [10, 40];
/// Sentences that also come together, as one long text.
const TOGETHER: usize = 10;
/// Where random numbers start; not 0.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a tokenizer makes of a few sentences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    frame: Frame,
    /// The ids of sentences, without the frame's.
    sentences: Vec<Vec<u32>>,
}

impl Sample {
    /// Reads a folder's `tokenizer.json`. Without one, or with one of an unknown kind, there are no sentences: calibration
    /// is then less apt, nothing else.
    pub(crate) fn of(folder: &Path) -> Self {
        std::fs::read(folder.join("tokenizer.json"))
            .ok()
            .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
            .map(|tokenizer| Self::of_tokenizer(&tokenizer))
            .unwrap_or_default()
    }

    fn of_tokenizer(tokenizer: &Value) -> Self {
        let frame = tokenizer.get("post_processor").and_then(Frame::of_processor).unwrap_or_default();
        let pieces = tokenizer.get("model").and_then(Pieces::of);
        let ids = |sentence: &&str| pieces.as_ref().map(|pieces| pieces.cut(sentence)).unwrap_or_default();
        let sentences = SENTENCES.iter().map(ids).filter(|ids| !ids.is_empty()).collect();
        Self { frame, sentences }
    }

    /// The sentences, and words at random, neighbouring or repeated, in sequences of several lengths: what stands out there
    /// counts too.
    pub(crate) fn batch(&self, vocabulary: usize, longest: usize) -> Batch {
        let mut batch = Batch::new();
        let mut state = SEED;
        let mut random = || {
            // xorshift64*
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            ((state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % vocabulary.max(1) as u64) as u32
        };
        let long: Vec<u32> = self.sentences.iter().take(TOGETHER).flatten().copied().collect();
        let mut others = vec![long];
        others.extend(WORDS.map(|count| (0..count).map(|_| random()).collect()));
        for count in NEIGHBOURS {
            let first = random() as usize % vocabulary.saturating_sub(count).max(1);
            others.push((first as u32..).take(count).collect());
        }
        others.extend(REPETITIONS.map(|count| vec![random(); count]));
        for inside in self.sentences.iter().chain(&others) {
            let ids = self.frame.before.iter().chain(inside).chain(&self.frame.after).copied();
            let ids: Vec<u32> = ids.filter(|&id| (id as usize) < vocabulary).collect();
            if ids.len() <= longest {
                batch.push(&ids);
            }
        }
        batch
    }
}

/// Images of which a model that reads patches is calibrated.
const IMAGES: usize = 8;

/// Images of waves and noise, with the mean 0 and about the spread 1 that images are brought to.
pub(crate) fn random_images(patches: PatchSpec, longest: usize) -> Result<Batch, EncoderError> {
    let mut state = SEED;
    let mut random = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let count = longest.saturating_sub(1).min(256);
    let mut batch = Batch::new();
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
    Ok(batch)
}

/// A vocabulary, and how it marks where in a word a piece stands.
struct Pieces<'a> {
    ids: HashMap<&'a str, u32>,
    /// Before the first piece of a word after a space.
    first: &'a str,
    /// Before the further pieces of a word.
    further: &'a str,
}

impl<'a> Pieces<'a> {
    fn of(model: &'a Value) -> Option<Self> {
        let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let ids: HashMap<&str, u32> = match model.get("vocab")? {
            Value::Object(vocabulary) => {
                vocabulary.iter().filter_map(|(piece, value)| Some((piece.as_str(), id(value)?))).collect()
            }
            Value::Array(vocabulary) => {
                (0u32..).zip(vocabulary).filter_map(|(id, entry)| Some((entry.get(0)?.as_str()?, id))).collect()
            }
            _ => return None,
        };
        let further = model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or("");
        let marks = |mark: &str| ids.keys().filter(|piece| piece.starts_with(mark)).count();
        let first = ["\u{120}", "\u{2581}"].into_iter().find(|mark| marks(mark) > ids.len() / 100).unwrap_or("");
        Some(Self { ids, first, further })
    }

    /// The ids of a text's words and signs, in capital letters or, where the vocabulary lacks those, small ones.
    fn cut(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut spaced = true;
        let mut rest = text;
        while let Some(start) = rest.chars().next() {
            let length = match rest.find(|c: char| !c.is_ascii_alphanumeric()) {
                Some(0) => start.len_utf8(),
                found => found.unwrap_or(rest.len()),
            };
            let (word, behind) = rest.split_at(length);
            rest = behind;
            if start.is_ascii_whitespace() {
                spaced = true;
                continue;
            }
            if !self.cut_word(word, spaced, &mut ids) {
                self.cut_word(&word.to_ascii_lowercase(), spaced, &mut ids);
            }
            spaced = false;
        }
        ids
    }

    /// Appends a word's pieces, if there are such.
    fn cut_word(&self, word: &str, spaced: bool, ids: &mut Vec<u32>) -> bool {
        let known = ids.len();
        let mut mark = if spaced { self.first } else { "" };
        let mut rest = word;
        while !rest.is_empty() {
            let found = (1..=rest.len()).rev().find_map(|end| {
                let piece = format!("{mark}{}", rest.get(..end)?);
                self.ids.get(piece.as_str()).map(|&id| (id, end))
            });
            let Some((id, end)) = found else {
                ids.truncate(known);
                return false;
            };
            ids.push(id);
            rest = &rest[end..];
            mark = self.further;
        }
        true
    }
}

/// The ids that a tokenizer puts before and after a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Frame {
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
        let batch = Sample { frame, sentences: Vec::new() }.batch(50, 40);
        assert!(batch.validate(50, 0, Some(40)).is_ok());
        assert!(batch.len() >= 8);
        assert!((0..batch.len()).all(|i| batch.sequence(i)[0] == 1));
    }

    #[test]
    fn sentences_are_cut_by_every_kind_of_vocabulary() {
        let word_pieces = serde_json::json!({"model": {
            "type": "WordPiece", "continuing_subword_prefix": "##",
            "vocab": {"no": 3, ".": 4, "phy": 5, "##si": 6, "##cs": 7, "good": 8, "morning": 9, "mor": 10},
        }});
        let sample = Sample::of_tokenizer(&word_pieces);
        for expected in [vec![3, 4], vec![5, 6, 7], vec![8, 9]] {
            assert!(sample.sentences.contains(&expected), "{expected:?} in {:?}", sample.sentences);
        }
        for mark in ["\u{120}", "\u{2581}"] {
            let vocabulary = [format!("{mark}No"), ".".into(), format!("{mark}phy"), "sics".into()];
            let object: serde_json::Map<_, _> = vocabulary.iter().cloned().zip((0..).map(Value::from)).collect();
            let array: Vec<Value> = vocabulary.iter().map(|piece| serde_json::json!([piece, -1.5])).collect();
            for vocab in [Value::Object(object), Value::Array(array)] {
                let sample = Sample::of_tokenizer(&serde_json::json!({"model": {"vocab": vocab}}));
                assert!(sample.sentences.contains(&vec![0, 1]) && sample.sentences.contains(&vec![2, 3]));
            }
        }
        assert_eq!(Sample::of_tokenizer(&serde_json::json!({"model": {}})), Sample::default());
    }

    #[test]
    fn sentences_are_ascii_and_every_run_sees_the_same() {
        assert!(SENTENCES.iter().all(|sentence| sentence.is_ascii()));
        let sample = Sample { frame: Frame::default(), sentences: vec![vec![3, 70], vec![4]] };
        let batch = sample.batch(60, 40);
        assert_eq!(batch, sample.batch(60, 40));
        assert!(batch.validate(60, 0, Some(40)).is_ok());
    }
}
