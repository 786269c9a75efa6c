//! The processor's own limits: `limits THREADS` answers `rates` with multiply-adds in registers, two operations each,
//! over all threads: 32-bit floats (`fma`), bfloat16 where there are products of it (`bf16`), and 8-bit integers where there is VNNI (`vnni`).

use bench_protocol::{Contestant, Failure, Ready, Vectors, serve};
use std::arch::x86_64::*;
use std::hint::black_box;
use std::io::{stdin, stdout};
use std::time::Instant;

/// About ten milliseconds.
const TURNS: usize = 1 << 22;
/// The best of so many counts: whatever else runs can only make one slower.
const REPEATS: usize = 10;
/// Independent sums: enough to hide the latency of two units.
const SUMS: usize = 12;

struct Limits(usize);

/// One measured loop: its name, operations per turn, whether this processor has it, and the loop.
struct Loop {
    name: &'static str,
    operations: usize,
    present: fn() -> bool,
    run: unsafe fn(usize),
}

/// Widest first of each name; the first that is present counts.
const LOOPS: &[Loop] = &[
    Loop { name: "fma", operations: 2 * 16 * SUMS, present: || is_x86_feature_detected!("avx512f"), run: fma_512 },
    Loop {
        name: "fma",
        operations: 2 * 8 * SUMS,
        present: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        run: fma_256,
    },
    Loop { name: "bf16", operations: 2 * 32 * SUMS, present: || is_x86_feature_detected!("avx512bf16"), run: bf16_512 },
    Loop { name: "vnni", operations: 2 * 64 * SUMS, present: || is_x86_feature_detected!("avx512vnni"), run: vnni_512 },
    Loop { name: "vnni", operations: 2 * 32 * SUMS, present: || is_x86_feature_detected!("avxvnni"), run: vnni_256 },
];

#[target_feature(enable = "avx512f")]
fn fma_512(turns: usize) {
    let mut sums = [_mm512_set1_ps(1.0); SUMS];
    let (factor, summand) = (black_box(_mm512_set1_ps(1.000_000_1)), black_box(_mm512_set1_ps(1e-9)));
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, summand);
        }
    }
    black_box(sums);
}

#[target_feature(enable = "avx2,fma")]
fn fma_256(turns: usize) {
    let mut sums = [_mm256_set1_ps(1.0); SUMS];
    let (factor, summand) = (black_box(_mm256_set1_ps(1.000_000_1)), black_box(_mm256_set1_ps(1e-9)));
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, summand);
        }
    }
    black_box(sums);
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16_512(turns: usize) {
    let mut sums = [_mm512_set1_ps(1.0); SUMS];
    let pairs = |number: f32| black_box(_mm512_cvtne2ps_pbh(_mm512_set1_ps(number), _mm512_set1_ps(number)));
    let (a, b) = (pairs(1.0), pairs(1e-9));
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, a, b);
        }
    }
    black_box(sums);
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn vnni_512(turns: usize) {
    let mut sums = [_mm512_setzero_si512(); SUMS];
    let (a, b) = (black_box(_mm512_set1_epi8(3)), black_box(_mm512_set1_epi8(5)));
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    black_box(sums);
}

#[target_feature(enable = "avx2,avxvnni")]
fn vnni_256(turns: usize) {
    let mut sums = [_mm256_setzero_si256(); SUMS];
    let (a, b) = (black_box(_mm256_set1_epi8(3)), black_box(_mm256_set1_epi8(5)));
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm256_dpbusd_avx_epi32(*sum, a, b);
        }
    }
    black_box(sums);
}

impl Limits {
    /// Of one run on all threads at once.
    fn seconds(&self, measured: &Loop) -> f64 {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..self.0 {
                // SAFETY: only loops that are present come here.
                scope.spawn(|| unsafe { (measured.run)(TURNS) });
            }
        });
        start.elapsed().as_secs_f64()
    }
}

impl Contestant for Limits {
    fn encode(&mut self, _: &[String], _: Option<usize>) -> Result<Vectors, Failure> {
        Err("this process only measures rates".into())
    }

    fn rates(&mut self) -> Result<Vec<(String, f64)>, Failure> {
        let mut rates: Vec<(String, f64)> = Vec::new();
        for candidate in LOOPS {
            if rates.iter().any(|(name, _)| name == candidate.name) || !(candidate.present)() {
                continue;
            }
            let best = (0..REPEATS).map(|_| self.seconds(candidate)).fold(f64::INFINITY, f64::min);
            let operations = (candidate.operations * TURNS * self.0) as f64;
            rates.push((candidate.name.to_owned(), operations / best));
        }
        Ok(rates)
    }
}

fn main() -> Result<(), Failure> {
    let threads = std::env::args().nth(1).ok_or("usage: limits THREADS")?.parse()?;
    let ready = Ready { version: String::new(), load: 0.0, first: 0.0 };
    serve(&mut Limits(threads), &ready, stdin().lock(), stdout().lock())
}
