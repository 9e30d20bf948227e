//! `lpc generate`: continuations from a trained run or a base model.

use super::GenerateArguments;
use super::reproduce::model_source;
use crate::Result;
use crate::config::Recipe;
use crate::data::tokenize::tokenize_prompt;
use crate::eval::generation::{Sampling, generate};
use crate::experiment::prepared::reference_policy;
use crate::experiment::saved;
use crate::model::load;
use std::io::Write;

pub fn run(arguments: GenerateArguments) -> Result<()> {
    let (recipe, loaded, policy): (Option<Recipe>, _, _) = if saved::is_run(&arguments.model) {
        let (recipe, loaded, policy) = saved::load(&arguments.model)?;
        (Some(recipe), loaded, policy)
    } else {
        let loaded = load::load(&model_source(&arguments.model))?;
        let policy = reference_policy(&loaded)?;
        (None, loaded, policy)
    };
    let sampling = Sampling {
        max_new_tokens: arguments.max_new_tokens,
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        seed: arguments.seed,
    };
    for prompt in &arguments.prompt {
        println!("> {prompt}");
        let ids = tokenize_prompt(prompt, &loaded.tokenizer)?;
        let mut shown = String::new();
        generate(recipe.as_ref(), &policy, &loaded.tokenizer, &ids, sampling, |text| {
            // Only what is certain: a multi-token character shows once it is whole.
            if let Some(new) = text.strip_prefix(&shown).filter(|new| !new.ends_with('\u{fffd}')) {
                print!("{new}");
                let _ = std::io::stdout().flush();
                shown = text.to_string();
            }
        })?;
        println!("\n");
    }
    Ok(())
}
