//! logprob and lm_head: token and completion log-probabilities, plain and fused.

use crate::composed::{gradient, numbers};
use crate::twins::{Draw, assert_close, backward, log_uniform, size, var2};
use candle_core::{DType, Device, Tensor, Var};
use lpc::config::Precision;
use lpc::{spec, tensor};
use ndarray::Array2;
use proptest::prelude::*;

/// f32 against f64 on the same inputs, relative to the largest score: some ten roundings of 6e-8 in
/// a product of up to 6 terms, the exponentials and their sum. Measured over 5,000 cases: 9.3e-7 at
/// most.
const F32: f64 = 3e-6;

fn refused(result: lpc::Result<Tensor>) -> Result<(), TestCaseError> {
    match result {
        Err(error @ lpc::Error::Argument { .. }) => prop_assert_eq!(error.to_string().lines().count(), 1),
        other => prop_assert!(false, "expected a refusal, got {:?}", other),
    }
    Ok(())
}

proptest! {
    /// Several completions in one call; their sums; and the gradients of a weighted total.
    #[test]
    fn completions(
        seed: u64, lengths in prop::collection::vec(1usize..=8, 1..6), vocabulary in 2usize..40, d in 1usize..7, scale in log_uniform(0.1, 100.0),
    ) {
        let mut draw = Draw::new(seed);
        let n = lengths.iter().sum();
        let (hidden, lm_head) = (draw.matrix(n, d, scale), draw.matrix(vocabulary, d, 1.0));
        let (tokens, upstream) = (draw.tokens(n, vocabulary), draw.vector(lengths.len(), 1.0));
        let completion: Vec<u32> = lengths.iter().enumerate().flat_map(|(i, &n)| vec![i as u32; n]).collect();
        let (hidden_var, lm_head_var) = (var2(&hidden), var2(&lm_head));

        let ids = Tensor::new(tokens.as_slice(), &Device::Cpu).unwrap();
        let logps = tensor::logprob::token_logps(&hidden_var, &lm_head_var, &ids).unwrap();
        // Log-probabilities keep the rounding of the scores they are differences of.
        let scores = size(&hidden) * size(&lm_head) * (d * n) as f64;
        let expected = spec::logprob::token_logps(&hidden, &lm_head, &tokens).unwrap();
        assert_close("token_logps", &numbers(&logps), expected.as_slice().unwrap(), scores);
        // The composed head in f64, where nothing is rounded; the fused one is for f32 alone.
        let composed = tensor::lm_head::token_logps_composed(&hidden_var, &lm_head_var, &tokens, Precision::F32).unwrap();
        prop_assert_eq!(numbers(&composed), numbers(&logps));
        prop_assert!(tensor::lm_head::token_logps_fused(&hidden_var, &lm_head_var, &tokens, Precision::F32).is_err());

        let sums = tensor::logprob::completion_logps_sum(&logps, &completion, lengths.len()).unwrap();
        let mut from = 0;
        let (mut values, mut to_hidden, mut to_lm_head) = (vec![], vec![], Array2::zeros(lm_head.dim()));
        for (&n, &w) in lengths.iter().zip(&upstream) {
            let (hidden, tokens) = (hidden.slice(ndarray::s![from..from + n, ..]), &tokens[from..from + n]);
            values.push(spec::logprob::completion_logps_sum(&hidden, &lm_head, tokens).unwrap());
            let (h, head) = spec::logprob::completion_logps_sum_gradient(&hidden, &lm_head, tokens).unwrap();
            to_hidden.extend((h * w).iter());
            to_lm_head = to_lm_head + head * w;
            from += n;
        }
        let to_lm_head: Vec<f64> = to_lm_head.iter().copied().collect();
        assert_close("completion_logps_sum", &numbers(&sums), &values, scores);
        let store = backward(&sums, upstream.as_slice().unwrap());
        let rounding = scores * size(&upstream) * size(&lm_head) * size(&hidden);
        assert_close("∂hidden", &gradient(&store, &hidden_var), &to_hidden, rounding);
        assert_close("∂lm_head", &gradient(&store, &lm_head_var), &to_lm_head, rounding);
    }

    /// Both f32 implementations against `spec` on the same f32 inputs.
    #[test]
    fn single_precision(
        seed: u64, n in 1usize..=16, vocabulary in 2usize..200, d in 1usize..7, scale in log_uniform(0.1, 30.0),
    ) {
        let mut draw = Draw::new(seed);
        let round = |a: Array2<f64>| a.mapv(|v| f64::from(v as f32));
        let (hidden, lm_head) = (round(draw.matrix(n, d, scale)), round(draw.matrix(vocabulary, d, 1.0)));
        let tokens = draw.tokens(n, vocabulary);
        let single = |a: &Array2<f64>| Var::from_tensor(&var2(a).to_dtype(DType::F32).unwrap()).unwrap();
        let (hidden_var, lm_head_var) = (single(&hidden), single(&lm_head));
        let ids = Tensor::new(tokens.as_slice(), &Device::Cpu).unwrap();
        let expected = spec::logprob::token_logps(&hidden, &lm_head, &tokens).unwrap();
        let (to_hidden, to_lm_head) = spec::logprob::completion_logps_sum_gradient(&hidden, &lm_head, &tokens).unwrap();
        let scores = size(&hidden.dot(&lm_head.t()));
        for logps in [
            tensor::logprob::token_logps(&hidden_var, &lm_head_var, &ids).unwrap(),
            tensor::lm_head::token_logps_fused(&hidden_var, &lm_head_var, &tokens, Precision::F32).unwrap(),
        ] {
            let store = logps.sum_all().unwrap().backward().unwrap();
            for (what, got, expected, rounding) in [
                ("logps", numbers(&logps), expected.to_vec(), scores),
                ("∂hidden", gradient(&store, &hidden_var), to_hidden.iter().copied().collect(), scores * size(&lm_head)),
                ("∂lm_head", gradient(&store, &lm_head_var), to_lm_head.iter().copied().collect(), scores * size(&hidden)),
            ] {
                let off = got.iter().zip(&expected).fold(0.0, |m: f64, (g, e)| m.max((g - e).abs()));
                prop_assert!(off <= F32 * rounding, "{} off by {:e} of {:e}", what, off, rounding);
            }
        }
    }

    /// h_z joins every position of both completions of its own pair, and no other's.
    #[test]
    fn latents_join_their_pair(seed: u64, lengths in prop::collection::vec((1usize..=8, 1usize..=8), 1..5), d in 1usize..6) {
        let mut draw = Draw::new(seed);
        let n = lengths.iter().map(|(c, r)| c + r).sum();
        let (hidden, latents) = (draw.matrix(n, d, 1.0), draw.matrix(lengths.len(), d, 1.0));
        let pair: Vec<u32> = lengths.iter().enumerate().flat_map(|(i, (c, r))| vec![i as u32; c + r]).collect();
        let pair = Tensor::new(pair.as_slice(), &Device::Cpu).unwrap();
        let got = tensor::logprob::add_latent(&var2(&hidden), &var2(&latents), &pair).unwrap();
        let (mut expected, mut from) = (vec![], 0);
        for (i, (c, r)) in lengths.iter().enumerate() {
            for len in [c, r] {
                let states = hidden.slice(ndarray::s![from..from + len, ..]);
                expected.extend(spec::logprob::add_latent(&states, &latents.row(i)).unwrap());
                from += len;
            }
        }
        prop_assert_eq!(numbers(&got), expected);
    }

    /// Shapes and indices that do not fit are errors of one line, in every way of computing.
    #[test]
    fn arguments_that_do_not_fit(n in 1usize..5, vocabulary in 1usize..9, d in 1usize..5, more in 1usize..4, dtype in prop::sample::select(vec![DType::F32, DType::F64])) {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
        let ids = |n: usize, id: u32| vec![id; n];
        let index = |ids: &[u32]| Tensor::from_slice(ids, ids.len(), &Device::Cpu).unwrap();
        let beyond = (vocabulary - 1 + more) as u32;
        for (hidden, lm_head, tokens) in [
            (zeros(&[0, d]), zeros(&[vocabulary, d]), vec![]),
            (zeros(&[n, d]), zeros(&[vocabulary, d]), vec![]),
            (zeros(&[n, d]), zeros(&[vocabulary, d]), ids(n + more, 0)),
            (zeros(&[n + more, d]), zeros(&[vocabulary, d]), ids(n, 0)),
            (zeros(&[n, d + more]), zeros(&[vocabulary, d]), ids(n, 0)),
            (zeros(&[n, d]), zeros(&[vocabulary, d + more]), ids(n, 0)),
            (zeros(&[n, 0]), zeros(&[vocabulary, 0]), ids(n, 0)),
            (zeros(&[n]), zeros(&[vocabulary, d]), ids(n, 0)),
            (zeros(&[n, d]), zeros(&[d]), ids(n, 0)),
            (zeros(&[n, d]), zeros(&[0, d]), ids(n, 0)),
            (zeros(&[n, d]), zeros(&[vocabulary, d]), ids(n, beyond)),
            (zeros(&[n, d]), zeros(&[vocabulary, d]), ids(n, u32::MAX)),
        ] {
            refused(tensor::lm_head::token_logps_fused(&hidden, &lm_head, &tokens, Precision::F32))?;
            refused(tensor::logprob::token_logps(&hidden, &lm_head, &index(&tokens)))?;
        }
        let sum = |logps: usize, completion: &[u32], completions| {
            tensor::logprob::completion_logps_sum(&zeros(&[logps]), completion, completions)
        };
        refused(sum(n, &ids(n, more as u32), 1))?;
        refused(sum(n, &ids(n, u32::MAX), 1))?;
        refused(sum(n + more, &ids(n, 0), 1))?;
        refused(sum(n, &ids(n + more, 0), 1))?;
        refused(sum(n, &ids(n, 0), 1 + more))?;
        refused(sum(n, &ids(n, 0), 0))?;
        refused(sum(0, &[], more))?;
        for (hidden, latent, pair) in [
            (zeros(&[n, d]), zeros(&[1, d + more]), ids(n, 0)),
            (zeros(&[n + more, d]), zeros(&[1, d]), ids(n, 0)),
            (zeros(&[n, d]), zeros(&[d]), ids(n, 0)),
            (zeros(&[n]), zeros(&[1, d]), ids(n, 0)),
            (zeros(&[n, d]), zeros(&[more, d]), ids(n, more as u32)),
            (zeros(&[n, d]), zeros(&[more, d]), ids(n, u32::MAX)),
        ] {
            refused(tensor::logprob::add_latent(&hidden, &latent, &index(&pair)))?;
        }
    }

    #[test]
    fn refusals(seed: u64, vocabulary in 1usize..9, beyond in 0u32..9) {
        let mut draw = Draw::new(seed);
        let (hidden, lm_head) = (draw.matrix(1, 2, 1.0), draw.matrix(vocabulary, 2, 1.0));
        let token = vocabulary as u32 + beyond;
        prop_assert!(spec::logprob::token_logps(&hidden, &lm_head, &[token]).is_err());
        prop_assert!(tensor::lm_head::token_logps_fused(&var2(&hidden), &var2(&lm_head), &[token], Precision::F32).is_err());
        let ids = Tensor::new(&[token], &Device::Cpu).unwrap();
        prop_assert!(tensor::logprob::token_logps(&var2(&hidden), &var2(&lm_head), &ids).is_err());
        // Nobody said anything on the rejected side.
        let logps = Tensor::new(&[-1f64], &Device::Cpu).unwrap();
        prop_assert!(tensor::logprob::completion_logps_sum(&logps, &[0], 2).is_err());
        prop_assert!(spec::logprob::completion_logps_sum(&Array2::zeros((0, 2)), &lm_head, &[]).is_err());
    }
}
