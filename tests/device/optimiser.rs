//! AdamW on bf16 numbers and their rests against f32 and f64.

use crate::tools::{Draws, distance, f64s, length, read};
use half::bf16;
use lpc::machine::device::Numbers;
use lpc::machine::device::kernels::{
    Moments, MomentsFormat, Step, THREADS, adamw, join_master, split_master, square_blocks, square_sum,
};
use lpc::train::optim::linear_schedule;
use proptest::prelude::*;

const BETAS: (f32, f32) = (0.9, 0.95);
const EPSILON: f32 = 1e-8;

/// The paper's schedule.
const STEPS: usize = 968;
const RATE: f64 = 5e-7;

fn step(t: usize) -> Step {
    let rate = RATE * linear_schedule(t, STEPS, 0.1);
    let bias = |beta: f32| 1.0 - f64::from(beta).powi(t as i32 + 1);
    Step {
        clip: 1.0,
        beta1: BETAS.0,
        beta2: BETAS.1,
        step_size: (rate / bias(BETAS.0)) as f32,
        second_scale: bias(BETAS.1).sqrt().recip() as f32,
        epsilon: EPSILON,
        keep: (1.0 - rate * 0.01) as f32,
    }
}

/// Gradients with a mean, beside noise that is larger by `noise`, of very different sizes.
struct Gradients {
    means: Vec<f32>,
    scales: Vec<f32>,
}

impl Gradients {
    fn new(draws: &mut Draws, n: usize, ratio: f64) -> Self {
        let scales = draws.normal(n, 1.0).iter().map(|x| 1e-4 * x.exp()).collect();
        Self { means: draws.normal(n, ratio), scales }
    }

    fn draw(&self, draws: &mut Draws) -> Vec<f32> {
        let noise = draws.normal(self.means.len(), 1.0);
        (0..noise.len()).map(|i| self.scales[i] * (self.means[i] + noise[i])).collect()
    }
}

/// Trains a device's weights; their f32 numbers before and after.
fn trained(format: MomentsFormat, seed: u64, n: usize, ratio: f64, steps: usize) -> [Vec<f32>; 2] {
    let mut draws = Draws::new(seed);
    let start = draws.normal(n, 0.02);
    let (halves, rests, wide) = (draws.room::<bf16>(n), draws.room::<u16>(n), draws.held(&start));
    split_master(wide.all(), halves.all(), rests.all()).unwrap();
    let mut moments = Moments::zeros(&draws.device, format, n).unwrap();
    let gradients = Gradients::new(&mut draws, n, ratio);
    for t in 0..steps {
        let gradient = gradients.draw(&mut draws);
        let gradient = draws.held(&gradient);
        let gradient = Numbers::F32(gradient.all());
        adamw((halves.all(), rests.all()), gradient, &mut moments, 0, &step(t), t as u32).unwrap();
    }
    join_master(halves.all(), rests.all(), wide.all()).unwrap();
    [start, wide.all().read().unwrap()]
}

/// The same weights by the formula in f32, or in f64.
fn by_formula<T>(
    seed: u64,
    n: usize,
    ratio: f64,
    steps: usize,
    of: impl Fn(f32) -> T,
    update: Update<T>,
) -> Vec<T>
where
    T: Copy + Default,
{
    let mut draws = Draws::new(seed);
    let mut weights: Vec<T> = draws.normal(n, 0.02).into_iter().map(&of).collect();
    let (mut first, mut second) = (vec![T::default(); n], vec![T::default(); n]);
    let gradients = Gradients::new(&mut draws, n, ratio);
    for t in 0..steps {
        let s = step(t);
        for (i, g) in gradients.draw(&mut draws).into_iter().enumerate() {
            update(&mut weights[i], &mut first[i], &mut second[i], of(g), &s);
        }
    }
    weights
}

type Update<T> = fn(&mut T, &mut T, &mut T, T, &Step);

fn in_f32(w: &mut f32, m: &mut f32, v: &mut f32, g: f32, s: &Step) {
    let g = g * s.clip;
    *m = s.beta1 * *m + (1.0 - s.beta1) * g;
    *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
    *w = *w * s.keep - s.step_size * *m / (v.sqrt() * s.second_scale + s.epsilon);
}

fn in_f64(w: &mut f64, m: &mut f64, v: &mut f64, g: f64, s: &Step) {
    let [beta1, beta2] = [s.beta1, s.beta2].map(f64::from);
    *m = beta1 * *m + (1.0 - beta1) * g;
    *v = beta2 * *v + (1.0 - beta2) * g * g;
    let scale = v.sqrt() * f64::from(s.second_scale) + f64::from(s.epsilon);
    *w = *w * f64::from(s.keep) - f64::from(s.step_size) * *m / scale;
}

#[test]
fn a_bf16_number_and_its_rest_are_f32_to_the_last_bit() {
    let formats = [MomentsFormat::F32, MomentsFormat::F32OnHost];
    for (seed, n, format) in [(1, 1000, formats[0]), (2, THREADS, formats[0]), (3, 700, formats[1])] {
        let [_, ours] = trained(format, seed, n, 0.3, 1000);
        let expected = by_formula(seed, n, 0.3, 1000, |x| x, in_f32);
        for (i, (a, b)) in ours.iter().zip(&expected).enumerate() {
            assert_eq!(a.to_bits(), b.to_bits(), "weight {i}: {a} and {b}");
        }
    }
}

/// How far from f64's update, as a share of it, at three ratios of signal to noise.
#[test]
fn smaller_moments_lose_little_of_the_update() {
    for (format, most) in
        [(MomentsFormat::F32, 2e-3), (MomentsFormat::Bf16, 1e-2), (MomentsFormat::EightBit, 0.05)]
    {
        for (seed, ratio) in [(1, 1.0), (2, 0.3), (3, 0.05)] {
            let (n, steps) = (4000, STEPS);
            let [start, ours] = trained(format, seed, n, ratio, steps);
            let exact = by_formula(seed, n, ratio, steps, f64::from, in_f64);
            let moved: Vec<f64> = exact.iter().zip(&start).map(|(a, b)| a - f64::from(*b)).collect();
            let share = distance(&f64s(&ours), &exact) / length(&moved);
            println!("{format:?}, signal {ratio} of noise: {share:.4} of the update is lost");
            assert!(share < most, "{format:?} at {ratio}: {share}");
        }
    }
}

/// A mean of squares that never changes is reached although a step is smaller than half of bf16's spacing, where
/// rounding to the nearest would stand still at about a third of it.
#[test]
fn random_roundings_do_not_stand_still() {
    let (draws, n, steps) = (Draws::new(0), 2048, 3000);
    let (halves, rests) = (draws.room::<bf16>(n), draws.room::<u16>(n));
    let mut moments = Moments::zeros(&draws.device, MomentsFormat::Bf16, n).unwrap();
    let gradient = draws.held(&vec![3f32; n]);
    let step = Step { beta2: 0.999, step_size: 0.0, ..step(0) };
    for t in 0..steps {
        let gradient = Numbers::F32(gradient.all());
        adamw((halves.all(), rests.all()), gradient, &mut moments, 0, &step, t).unwrap();
    }
    let Moments::Bf16 { second, .. } = &moments else { panic!("another format") };
    let mean = read(second).iter().sum::<f64>() / n as f64;
    let expected = 9.0 * (1.0 - 0.999f64.powi(steps as i32));
    assert!((mean / expected - 1.0).abs() < 0.01, "{mean}, expected {expected}");
}

/// More numbers than pass through the device at a time.
#[test]
fn moments_of_the_host_in_pieces() {
    let (mut draws, n) = (Draws::new(0), (1 << 24) + 700);
    let both = [MomentsFormat::F32, MomentsFormat::F32OnHost];
    let gradient = draws.normal(1000, 1.0);
    let gradient: Vec<f32> = (0..n).map(|i| gradient[i % 1000]).collect();
    let held = draws.held(&gradient);
    let [a, b] = both.map(|format| {
        let (halves, rests) = (draws.room::<bf16>(n), draws.room::<u16>(n));
        let mut moments = Moments::zeros(&draws.device, format, n).unwrap();
        for t in 0..2 {
            let step = Step { step_size: 1e-2, ..step(t) };
            adamw((halves.all(), rests.all()), Numbers::F32(held.all()), &mut moments, 0, &step, 0).unwrap();
        }
        (halves.all().read().unwrap(), rests.all().read().unwrap())
    });
    assert!(a == b);
    assert!(a.0[n - 1].to_f32() != 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Any f32 number comes back, and the half is the nearest bf16 number.
    #[test]
    fn halves_and_rests(bits in prop::collection::vec(any::<u32>(), 1..600)) {
        let draws = Draws::new(0);
        let numbers: Vec<f32> = bits.iter().map(|b| f32::from_bits(*b)).filter(|x| x.is_finite()).collect();
        let n = numbers.len();
        let (halves, rests, back) = (draws.room::<bf16>(n), draws.room::<u16>(n), draws.room::<f32>(n));
        split_master(draws.held(&numbers).all(), halves.all(), rests.all()).unwrap();
        join_master(halves.all(), rests.all(), back.all()).unwrap();
        for ((x, half), back) in numbers.iter().zip(halves.all().read().unwrap()).zip(back.all().read().unwrap()) {
            prop_assert_eq!(x.to_bits(), back.to_bits());
            let nearest = bf16::from_f32(*x);
            let other = (f64::from(half) - f64::from(*x)).abs();
            prop_assert!(half == nearest || other == (f64::from(nearest) - f64::from(*x)).abs(), "{} {}", x, half);
        }
    }

    #[test]
    fn square_sums(seed: u64, n in 0usize..40_000, exact: bool) {
        let mut draws = Draws::new(seed);
        let numbers = draws.rounded(n, 3.0);
        let (half, sums) = (draws.held(&numbers), draws.room::<f32>(square_blocks(n)));
        let wide = draws.held(&numbers.iter().map(|x| x.to_f32()).collect::<Vec<_>>());
        let gradient = if exact { Numbers::F32(wide.all()) } else { Numbers::Bf16(half.all()) };
        let got = square_sum(gradient, &sums).unwrap();
        let expected: f64 = read(&half).iter().map(|x| x * x).sum();
        prop_assert!((got - expected).abs() <= 1e-5 * expected, "{} and {}", got, expected);
    }

    /// One step from moments of any size, of each format, against the formula.
    #[test]
    fn one_step(seed: u64, blocks in 1usize..4, rest in 1usize..THREADS, clip in 0.01..1.0f32, keep in 0.9..1.0f32, kind in 0usize..4) {
        let format = [MomentsFormat::F32, MomentsFormat::F32OnHost, MomentsFormat::Bf16, MomentsFormat::EightBit][kind];
        let n = blocks * THREADS + rest;
        let mut draws = Draws::new(seed);
        let (start, gradient) = (draws.normal(n, 1.0), draws.normal(n, 1.0));
        let (halves, rests, wide) = (draws.room::<bf16>(n), draws.room::<u16>(n), draws.held(&start));
        split_master(wide.all(), halves.all(), rests.all()).unwrap();
        let mut moments = Moments::zeros(&draws.device, format, n).unwrap();
        let step = Step { clip, keep, step_size: 1e-2, ..step(0) };
        let held = draws.held(&gradient);
        adamw((halves.all(), rests.all()), Numbers::F32(held.all()), &mut moments, 0, &step, 7).unwrap();
        join_master(halves.all(), rests.all(), wide.all()).unwrap();
        for (i, w) in wide.all().read().unwrap().into_iter().enumerate() {
            let (mut expected, mut m, mut v) = (start[i], 0.0, 0.0);
            in_f32(&mut expected, &mut m, &mut v, gradient[i], &step);
            prop_assert_eq!(w.to_bits(), expected.to_bits());
        }
    }
}
