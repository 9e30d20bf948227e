//! `lpc generate`: continuations from a trained run or a base model.

use super::GenerateArguments;
use super::output::{print, print_line};
use super::values::model_source;
use crate::Result;
use crate::config::Recipe;
use crate::data::tokenize::tokenize_prompt;
use crate::eval::generation::{Sampling, generate};
use crate::experiment::prepared::reference_policy;
use crate::experiment::saved;
use crate::model::load;

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
    for (index, prompt) in arguments.prompt.iter().enumerate() {
        print_line(format_args!("> {prompt}"))?;
        let ids = tokenize_prompt(prompt, &loaded.tokenizer)?;
        let mut shown = String::new();
        let new = generate(recipe.as_ref(), &policy, &loaded.tokenizer, &ids, sampling, index, |text| {
            let new = settled(&shown, text);
            print(new)?;
            shown.push_str(new);
            Ok(())
        })?;
        // What was held back has no continuation any more.
        let text = loaded.tokenizer.decode(&new, true)?;
        print(text.strip_prefix(&shown).unwrap_or_default())?;
        print("\n\n")?;
    }
    Ok(())
}

/// What `text` adds to `shown`, once it is certain: a character of several tokens shows when it is
/// whole.
fn settled<'a>(shown: &str, text: &'a str) -> &'a str {
    text.strip_prefix(shown).filter(|new| !new.ends_with('\u{fffd}')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::settled;

    #[test]
    fn a_partial_character_is_held_back() {
        assert_eq!(settled("caf", "caf\u{fffd}"), "");
        assert_eq!(settled("caf", "café"), "é");
        assert_eq!(settled("a", "a\u{fffd}b"), "\u{fffd}b");
        assert_eq!(settled("ab", "a"), "");
    }
}
