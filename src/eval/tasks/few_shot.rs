//! The examples that a document is shown: Python's `random.Random(1234).sample`, once for each document.

use crate::{Error, Result};
use rand_mt::Mt;

/// The harness's seed of every task's draws.
const SEED: u32 = 1234;

/// The examples, and the generator that draws from them.
pub(super) struct FewShot<'s> {
    shots: &'s [String],
    generator: Mt,
}

impl<'s> FewShot<'s> {
    /// Errors: no example to draw.
    pub fn new(shots: &'s [String]) -> Result<Self> {
        if shots.is_empty() {
            return Err(Error::argument("few-shot", "examples", 0, "at least one"));
        }
        Ok(Self { shots, generator: Mt::new_with_key([SEED]) })
    }

    /// The next document's `count` examples, in order.
    ///
    /// Errors: fewer examples than that.
    pub fn draw(&mut self, count: usize) -> Result<Vec<&'s str>> {
        let n = self.shots.len();
        if count > n {
            return Err(Error::argument("few-shot", "examples", n, format!("at least {count}")));
        }
        let chosen = sample(&mut self.generator, n, count);
        Ok(chosen.into_iter().map(|i| self.shots[i].as_str()).collect())
    }
}

/// `count` different indices below `n` as CPython 3.11 and later draws them: from a shrinking pool
/// where that is small, else by drawing again what was drawn before.
fn sample(generator: &mut Mt, n: usize, count: usize) -> Vec<usize> {
    let mut limit = 21;
    if count > 5 {
        limit += 4usize.pow((count as f64 * 3.0).log(4.0).ceil() as u32);
    }
    if n <= limit {
        let mut pool: Vec<usize> = (0..n).collect();
        return (0..count).map(|i| pool.swap_remove(below(generator, n - i))).collect();
    }
    let mut chosen: Vec<usize> = vec![];
    while chosen.len() < count {
        let i = below(generator, n);
        if !chosen.contains(&i) {
            chosen.push(i);
        }
    }
    chosen
}

/// CPython's `_randbelow`: as many bits as n has, drawn until they are below it.
fn below(generator: &mut Mt, n: usize) -> usize {
    let bits = usize::BITS - n.leading_zeros();
    loop {
        let drawn = (generator.next_u32() >> (32 - bits)) as usize;
        if drawn < n {
            return drawn;
        }
    }
}
