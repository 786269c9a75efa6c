//! How near every contestant's vectors are to the original's, and what they are worth in two tasks.

use super::contestants::Multiplies;
use super::options::Options;
use super::places::Places;
use super::results::Agreement;
use super::worker::Running;
use super::workloads::Model;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Rows of unit length.
pub(crate) struct Rows {
    values: Vec<f32>,
    dimension: usize,
}

/// Compares with the first contestant, the original. Vectors of the opponents are kept between runs.
pub(crate) fn compare(
    places: &Places,
    options: &Options,
    model: &Model,
    running: &mut [Running],
) -> Result<BTreeMap<&'static str, Agreement>> {
    let mut found = BTreeMap::new();
    if !running.iter().any(|one| one.contestant.name == "torch") {
        eprintln!("agreement: left out, for the original (torch) is not among the contestants");
        return Ok(found);
    }
    let folder = places.folder.join("vectors").join(model.name);
    fs::create_dir_all(&folder)?;
    let scores: Vec<f64> = serde_json::from_str(&fs::read_to_string(places.texts.join("sts-scores.json"))?)?;
    let judgements = places.texts.join("judgements.json");
    let judged: Option<Vec<(usize, usize, f64)>> = match fs::read_to_string(&judgements) {
        Ok(text) if !model.table && !options.quick => Some(serde_json::from_str(&text)?),
        _ => None,
    };
    let mut reference: Option<[Rows; 2]> = None;
    for one in running {
        // f32 opponents score as the original does; retrieval costs them hours for nothing.
        let scored = one.contestant.multiplies != Multiplies::F32 || one.contestant.is_ours() || reference.is_none();
        let mut vectors = |set: &str, count: Option<usize>| rows(places, options, &folder, one, set, count);
        let count = super::workloads::WORKLOADS
            .iter()
            .find(|workload| workload.name == "mixed")
            .map(|workload| workload.count(model, options.quick));
        let mixed = vectors("mixed", count)?;
        let sts = vectors("sts", None)?;
        let mut result = Agreement { smallest_cosine: 1.0, sts: 100.0 * pairs(&sts, &scores)?, ..Agreement::default() };
        if let Some(judged) = judged.as_ref().filter(|_| scored) {
            let (documents, queries) = (vectors("documents", None)?, vectors("queries", None)?);
            result.retrieval = Some(100.0 * ndcg(&queries, &documents, judged));
        }
        let own = [mixed, sts];
        let name = one.contestant.name;
        for (own, theirs) in own.iter().zip(reference.as_ref().unwrap_or(&own)) {
            difference(own, theirs, &mut result).with_context(|| format!("{name} and the original"))?;
        }
        result.mean_cosine /= result.texts as f64;
        super::report::print_agreement(name, &result);
        found.insert(name, result);
        reference.get_or_insert(own);
    }
    Ok(found)
}

fn rows(
    places: &Places,
    options: &Options,
    folder: &Path,
    one: &mut Running,
    set: &str,
    count: Option<usize>,
) -> Result<Rows> {
    let texts = places.texts.join(format!("{set}.txt"));
    let count_named = count.map_or(String::new(), |count| format!("-{count}"));
    let out = folder.join(format!("{}-{set}{count_named}-{}.npy", one.contestant.name, options.threads));
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified());
    let kept =
        !one.contestant.is_ours() && matches!((changed(&out), changed(&texts)), (Ok(out), Ok(texts)) if out > texts);
    if !kept {
        one.worker.ask(&json!({"op": "encode", "path": texts, "n": count, "batch_size": 16, "out": out}))?;
    }
    Rows::read(&out)
}

impl Rows {
    /// Reads a NumPy file of 32-bit floats and gives every row unit length.
    fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("{} is not the NumPy file that was asked for", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.len() > 10 && bytes.starts_with(b"\x93NUMPY\x01"), "it has another beginning");
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = String::from_utf8_lossy(bytes.get(10..start).context("its header is cut off")?).into_owned();
        ensure!(header.contains("'<f4'") && header.contains("False"), "its header is {header}");
        let shape = header.split(['(', ')']).nth(1).unwrap_or_default();
        let sizes: Vec<usize> = shape.split(',').filter_map(|size| size.trim().parse().ok()).collect();
        let [rows, dimension] = sizes[..] else { anyhow::bail!("its shape is ({shape})") };
        let (chunks, _) = bytes[start..].as_chunks::<4>();
        let mut values: Vec<f32> = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        ensure!(values.len() == rows * dimension && dimension > 0, "it holds {} values", values.len());
        for row in values.chunks_exact_mut(dimension) {
            let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt().max(1e-12);
            row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
        }
        Ok(Self { values, dimension })
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension)
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn difference(own: &Rows, theirs: &Rows, into: &mut Agreement) -> Result<()> {
    ensure!(own.dimension == theirs.dimension && own.values.len() == theirs.values.len(), "have different shapes");
    for (a, b) in own.iter().zip(theirs.iter()) {
        let largest = a.iter().zip(b).map(|(&a, &b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        into.largest_difference = into.largest_difference.max(largest);
        let cosine = cosine(a, b);
        into.smallest_cosine = into.smallest_cosine.min(cosine);
        into.mean_cosine += cosine;
        into.texts += 1;
    }
    Ok(())
}

/// Spearman's rank correlation of the scores and the cosines of first and second halves.
fn pairs(rows: &Rows, scores: &[f64]) -> Result<f64> {
    ensure!(
        rows.iter().len() == 2 * scores.len(),
        "there are {} vectors for {} pairs",
        rows.iter().len(),
        scores.len()
    );
    let cosines: Vec<f64> = rows.iter().zip(rows.iter().skip(scores.len())).map(|(a, b)| cosine(a, b)).collect();
    Ok(pearson(&ranks(&cosines), &ranks(scores)))
}

/// Ranks, equal values sharing the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&place| values[place] == values[order[start]]).count();
        let rank = start as f64 + (same as f64 - 1.0) / 2.0;
        order[start..start + same].iter().for_each(|&place| ranks[place] = rank);
        start += same;
    }
    ranks
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(a - mean_a, b - mean_b)).sum::<f64>();
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

/// Mean nDCG@10 over the queries that have a judgement, every judged document counting alike, as the original's
/// `InformationRetrievalEvaluator` does.
fn ndcg(queries: &Rows, documents: &Rows, judged: &[(usize, usize, f64)]) -> f64 {
    let mut relevant: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (query, document, _) in judged {
        relevant.entry(*query).or_default().push(*document);
    }
    let gain = |place: usize| 1.0 / ((place + 2) as f64).log2();
    let all: Vec<&[f32]> = queries.iter().collect();
    let scores = relevant.iter().map(|(&query, wanted)| {
        let mut scored: Vec<(f64, usize)> =
            documents.iter().enumerate().map(|(number, document)| (cosine(all[query], document), number)).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let found = scored.iter().take(10).enumerate().filter(|(_, (_, document))| wanted.contains(document));
        let reached: f64 = found.map(|(place, _)| gain(place)).sum();
        reached / (0..wanted.len().min(10)).map(gain).sum::<f64>()
    });
    scores.sum::<f64>() / relevant.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[f32], dimension: usize) -> Rows {
        Rows { values: values.to_vec(), dimension }
    }

    #[test]
    fn ranks_share_ties() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
        assert!((pearson(&[1.0, 2.0, 3.0], &[6.0, 4.0, 2.0]) + 1.0).abs() < 1e-12);
    }

    #[test]
    fn ndcg_by_hand() {
        let queries = rows(&[1.0, 0.0], 2);
        let documents = rows(&[0.0, 1.0, 1.0, 0.0, 0.6, 0.8], 2);
        // Found second, and it is the only one wanted: 1 / log2(3).
        assert!((ndcg(&queries, &documents, &[(0, 2, 1.0)]) - 1.0 / 3.0_f64.log2()).abs() < 1e-12);
        assert!((ndcg(&queries, &documents, &[(0, 1, 1.0)]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn reads_numpy_files_and_normalises() {
        let mut file = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
        file.extend(format!("{header:<117}\n").as_bytes());
        file.extend([3.0_f32, 4.0].iter().flat_map(|value| value.to_le_bytes()));
        assert_eq!(Rows::parse(&file).unwrap().values, [0.6, 0.8]);
        assert!(Rows::parse(&file[..file.len() - 4]).is_err());
        assert!(Rows::parse(b"PK").is_err());
    }

    #[test]
    fn differences_are_the_largest_and_smallest() {
        let mut result = Agreement { smallest_cosine: 1.0, ..Agreement::default() };
        difference(&rows(&[1.0, 0.0, 0.6, 0.8], 2), &rows(&[1.0, 0.0, 0.8, 0.6], 2), &mut result).unwrap();
        assert!((result.largest_difference - 0.2).abs() < 1e-6 && (result.smallest_cosine - 0.96).abs() < 1e-6);
        assert!(difference(&rows(&[1.0], 1), &rows(&[1.0, 0.0], 2), &mut result).is_err());
    }
}
