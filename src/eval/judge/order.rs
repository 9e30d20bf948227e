//! Which output the judge sees first: the same choice as AlpacaEval's.

use rand_mt::Mt;
use sha2::{Digest, Sha512};

/// Whether the model's output is shown first, in place of the baseline's.
///
/// As AlpacaEval: Python's `random.Random("is_switched_outputs" + instruction + "0")` draws one of
/// [False, True], so that prompts, and with them published annotations, agree.
///
/// ```
/// use lpc::eval::judge::is_switched;
/// assert_eq!([is_switched("2+2"), is_switched("2+3")], [false, true]);
/// ```
pub fn is_switched(instruction: &str) -> bool {
    let text = format!("is_switched_outputs{instruction}0");
    // random() is below 1/2 exactly when the generator's first word has no top bit.
    python_generator(&text).next_u32() >> 31 == 1
}

/// The generator that Python seeds with a string: the string's UTF-8 bytes and their SHA-512, read as one
/// big-endian number, are its key.
fn python_generator(text: &str) -> Mt {
    let mut bytes = text.as_bytes().to_vec();
    bytes.extend(Sha512::digest(text.as_bytes()));
    // Leading zeros are no part of a number.
    let number = &bytes[bytes.iter().take_while(|&&b| b == 0).count()..];
    let word = |chunk: &[u8]| chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte));
    Mt::new_with_key(number.rchunks(4).map(word))
}
