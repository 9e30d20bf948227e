//! `lpc codes`: what a trained run's codes are for.

use super::CodesArguments;
use super::output::print_line;
use crate::config::LatentAtTest;
use crate::data::tokenize::tokenize_prompt;
use crate::eval::generation::{Sampling, generate};
use crate::eval::predictor::Predictor;
use crate::experiment::{codes, saved};
use crate::progress::Progress;
use crate::report::table::{markdown, p_value, percent};
use crate::{Error, Result};
use candle_core::Device;

pub fn run(arguments: CodesArguments, device: &Device) -> Result<()> {
    let (mut recipe, loaded, policy) = saved::load(&arguments.run, device)?;
    if policy.codes().is_none() {
        return Err(Error::argument("codes", "run", arguments.run.display(), "a run with LPC"));
    }
    let read = codes::read(&recipe, &loaded, &policy, &Progress::stderr())?;
    print_line(format_args!("# Codes of {}\n", arguments.run.display()))?;
    print_line(format_args!(
        "{} codes on {} test pairs. Perplexity of their use: {:.1} by the prior, {:.1} by the posterior; dead: {}. Mean \
         entropy of p(z|x): {:.3} of ln {} = {:.3} nats. KL(q ‖ p): {:.4} nats; prior and posterior have the same \
         likeliest code for {} % of the pairs.\n",
        read.usage.len(),
        read.pairs,
        read.prior_perplexity,
        read.posterior_perplexity,
        read.dead(),
        read.prior_entropy,
        read.usage.len(),
        (read.usage.len() as f64).ln(),
        read.kl,
        percent(read.same_code),
    ))?;
    print_line("Nats that p(z|x) tells of each label, against labels in random order:\n")?;
    let rows: Vec<Vec<String>> = read
        .information
        .iter()
        .map(|i| {
            let f = i.found;
            let null = format!("{:.5} to {:.5}", f.null_low, f.null_high);
            vec![
                i.of.clone(),
                format!("{:.5}", f.value),
                null,
                p_value(f.p_value),
                format!("{:.3}", i.entropy),
            ]
        })
        .collect();
    print_line(markdown("lrrrr", &["Label", "Information", "By chance", "p", "Its entropy"], &rows))?;
    let mut order: Vec<usize> = (0..read.usage.len()).collect();
    order.sort_by(|a, b| read.usage[*b].prior.total_cmp(&read.usage[*a].prior));
    let rows: Vec<Vec<String>> = order
        .iter()
        .map(|&k| {
            let u = &read.usage[k];
            let tokens: Vec<String> = u.tokens.iter().map(|t| format!("`{}`", t.escape_debug())).collect();
            vec![
                k.to_string(),
                percent(u.prior),
                percent(u.posterior),
                percent(u.likeliest),
                tokens.join(" "),
            ]
        })
        .collect();
    let header = ["Code", "Prior, %", "Posterior, %", "Likeliest, %", "Tokens that W e_k promotes"];
    print_line(markdown("rrrrl", &header, &rows))?;

    recipe.evaluation.latent = LatentAtTest::Mean;
    for prompt in &arguments.prompt {
        print_line(format_args!("> {prompt}\n"))?;
        let forced = order.iter().take(arguments.codes).map(|k| Some(*k));
        for code in std::iter::once(None).chain(forced) {
            let predictor = Predictor::new(&policy, Some(&recipe), code)?;
            let ids = tokenize_prompt(prompt, &loaded.tokenizer)?;
            let sampling =
                Sampling { max_new_tokens: arguments.max_new_tokens, temperature: 0.0, top_p: 1.0, seed: 1 };
            let new = generate(&predictor, &loaded.tokenizer, &ids, sampling, 0, |_| Ok(()))?;
            let text = loaded.tokenizer.decode(&new, true)?;
            let name = code.map_or("prior's mean".into(), |k| format!("code {k}"));
            print_line(format_args!("- {name}: {}", text.trim().replace('\n', " ")))?;
        }
        print_line("")?;
    }
    Ok(())
}
