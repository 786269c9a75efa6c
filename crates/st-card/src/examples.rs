use crate::{ModelCardData, ModelFacts, UsageExample, WidgetExample};

/// Examples offered.
const EXAMPLES: usize = 5;
/// Rows of a dataset that examples are taken from.
const ROWS: usize = 1000;
/// Texts per example.
const TEXTS: usize = 4;

/// SplitMix64 (Steele, Lea and Flood 2014): enough to pick examples.
struct Picker(u64);

impl Picker {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let picked = (mixed ^ (mixed >> 31)) % bound.max(1) as u64;
        usize::try_from(picked).unwrap_or_default()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

impl ModelCardData {
    /// The texts whose similarities the card shows: [`predict_example`](Self::predict_example), or the default ones.
    #[must_use]
    pub fn usage_example(&self, model: &ModelFacts) -> UsageExample {
        let retrieval = self.ir_model.unwrap_or_else(|| model.is_retrieval_model());
        let mut texts = self.predict_example.clone().unwrap_or_else(|| {
            let default: &[&str] = if retrieval {
                &[
                    "Which planet is known as the Red Planet?",
                    "Venus is often called Earth's twin because of its similar size and proximity.",
                    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
                    "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
                ]
            } else {
                &["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
            };
            default.iter().map(|text| (*text).to_owned()).collect()
        });
        if retrieval && !texts.is_empty() {
            let documents = texts.split_off(1);
            return UsageExample::Retrieval { query: texts.remove(0), documents };
        }
        if self.generate_widget_examples {
            texts.truncate(3);
        }
        UsageExample::Sentences(texts)
    }

    /// Picks examples for the Hub's page, and texts for the usage example, from datasets: each dataset is a list of rows,
    /// each row the texts of its columns. Five times a dataset is drawn, up to 1000 of its rows are looked at, and the
    /// shortest are taken; a row with fewer than four texts is filled up with texts of the next rows. The same seed picks
    /// the same examples.
    pub fn set_widget_examples(&mut self, datasets: &[Vec<Vec<String>>], seed: u64) {
        self.widget.clear();
        if datasets.is_empty() {
            return;
        }
        let mut picker = Picker(seed);
        let mut drawn = vec![0; datasets.len()];
        let mut order = Vec::new();
        for _ in 0..EXAMPLES {
            let dataset = picker.below(datasets.len());
            if drawn[dataset] == 0 {
                order.push(dataset);
            }
            drawn[dataset] += 1;
        }
        for dataset in order {
            self.pick_from(&datasets[dataset], drawn[dataset], &mut picker);
        }
    }

    fn pick_from(&mut self, rows: &[Vec<String>], examples: usize, picker: &mut Picker) {
        let mut rows: Vec<&Vec<String>> = rows.iter().collect();
        picker.shuffle(&mut rows);
        rows.truncate(ROWS);
        rows.sort_by_key(|row| row.iter().map(|text| text.chars().count()).sum::<usize>());
        let (targets, spare) = rows.split_at(examples.min(rows.len()));
        let mut spare = spare.iter();
        for target in targets {
            let mut texts = (*target).clone();
            while texts.len() < TEXTS
                && let Some(row) = spare.next()
            {
                // The second text of a row: the first may be another query.
                texts.extend(row.get(1).or_else(|| row.first()).cloned());
            }
            if texts.len() < TEXTS {
                continue;
            }
            self.predict_example = Some(texts[..TEXTS].to_vec());
            let mut sentences = texts.split_off(1);
            picker.shuffle(&mut sentences);
            self.widget.push(WidgetExample { source_sentence: texts.remove(0), sentences });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<Vec<String>> {
        (0..count).map(|row| vec![format!("query {row:03}"), format!("document {row:03}")]).collect()
    }

    #[test]
    fn examples_have_four_texts_and_repeat_with_their_seed() {
        let mut data = ModelCardData::new();
        data.set_widget_examples(&[rows(50), rows(30)], 7);
        assert_eq!(data.widget.len(), 5);
        assert!(data.widget.iter().all(|example| example.sentences.len() == 3));
        assert!(data.widget.iter().all(|example| example.source_sentence.starts_with("query")));
        assert!(data.widget.iter().flat_map(|example| &example.sentences).all(|text| text.starts_with("document")));
        assert_eq!(data.predict_example.as_ref().map(Vec::len), Some(4));
        let mut again = ModelCardData::new();
        again.set_widget_examples(&[rows(50), rows(30)], 7);
        assert_eq!(data, again);
    }

    #[test]
    fn too_few_rows_give_no_example() {
        let mut data = ModelCardData::new();
        data.set_widget_examples(&[rows(1)], 0);
        assert!(data.widget.is_empty() && data.predict_example.is_none());
        data.set_widget_examples(&[Vec::new()], 0);
        data.set_widget_examples(&[vec![Vec::new(); 9]], 0);
        assert!(data.widget.is_empty());
    }

    #[test]
    fn usage_follows_the_kind_of_model() {
        let mut data = ModelCardData::new();
        data.predict_example = Some(["a", "b", "c", "d"].map(String::from).into());
        assert_eq!(data.usage_example(&ModelFacts::default()).shape(), (3, 3));
        let router = ModelFacts { has_router: true, ..ModelFacts::default() };
        assert_eq!(data.usage_example(&router).shape(), (1, 3));
        data.generate_widget_examples = false;
        assert_eq!(data.usage_example(&ModelFacts::default()).shape(), (4, 4));
        data.predict_example = Some(Vec::new());
        assert_eq!(data.usage_example(&router).shape(), (0, 0));
    }
}
