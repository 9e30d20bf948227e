//! Which output the judge sees first: the very choice AlpacaEval makes.

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
    first_word(&text) >> 31 == 1
}

const N: usize = 624;

/// The first output of the Mersenne Twister that Python seeds with a string: its UTF-8 bytes and
/// their SHA-512, read as one big-endian number, are the key of `init_by_array`.
fn first_word(text: &str) -> u32 {
    let mut bytes = text.as_bytes().to_vec();
    bytes.extend(Sha512::digest(text.as_bytes()));
    // Leading zeros are no part of a number.
    let number = &bytes[bytes.iter().take_while(|&&b| b == 0).count()..];
    let word = |chunk: &[u8]| chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte));
    let key: Vec<u32> = number.rchunks(4).map(word).collect();

    let mut state = [0u32; N];
    state[0] = 19_650_218;
    let mixed = |previous: u32| previous ^ (previous >> 30);
    for i in 1..N {
        state[i] = mixed(state[i - 1]).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
    }
    let (mut i, mut j) = (1, 0);
    let advance = |i: &mut usize, state: &mut [u32; N]| {
        *i += 1;
        if *i == N {
            state[0] = state[N - 1];
            *i = 1;
        }
    };
    for _ in 0..N.max(key.len()) {
        let next = state[i] ^ mixed(state[i - 1]).wrapping_mul(1_664_525);
        state[i] = next.wrapping_add(key[j]).wrapping_add(j as u32);
        advance(&mut i, &mut state);
        j = (j + 1) % key.len();
    }
    for _ in 1..N {
        let next = state[i] ^ mixed(state[i - 1]).wrapping_mul(1_566_083_941);
        state[i] = next.wrapping_sub(i as u32);
        advance(&mut i, &mut state);
    }
    state[0] = 0x8000_0000;

    let joined = (state[0] & 0x8000_0000) | (state[1] & 0x7fff_ffff);
    let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
    let mut y = state[397] ^ (joined >> 1) ^ odd;
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c_5680;
    y ^= (y << 15) & 0xefc6_0000;
    y ^ (y >> 18)
}
