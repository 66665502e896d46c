use proptest::prelude::*;

use super::*;

/// Value of a half, by its definition.
fn half(bytes: &[u8]) -> f64 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa > 0.0 => f64::NAN,
        31 => f64::INFINITY,
        _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

/// Columns of a block of a file, written from the description of ggml's blocks with the arithmetic
/// in f64.
fn reference(encoding: Encoding, block: &[u8]) -> Vec<f64> {
    let int = f64::from;
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (at % 8) & 1;
    // nibble of column `at` of 32
    let nibble = |bytes: &[u8], at: usize| {
        if at < 16 {
            bytes[at] & 15
        } else {
            bytes[at - 16] >> 4
        }
    };
    let columns = 0..encoding.block();
    // 6-bit scale and minimum of part `at` of 256 columns
    let six = |at: usize| {
        let b = &block[4..16];
        if at < 4 {
            (b[at] & 63, b[at + 4] & 63)
        } else {
            (
                b[at + 4] % 16 + b[at - 4] / 64 * 16,
                b[at + 4] / 16 + b[at] / 64 * 16,
            )
        }
    };
    // nibble of column `at` of 256 in Q4_K and Q5_K
    let k_nibble = |bytes: &[u8], at: usize| {
        let byte = bytes[at / 64 * 32 + at % 32];
        if at % 64 < 32 { byte % 16 } else { byte / 16 }
    };
    let value = |at: usize| match encoding {
        Encoding::F32 => f64::from(f32::from_le_bytes(block.try_into().unwrap())),
        Encoding::F16 => half(block),
        Encoding::Bf16 => f64::from(f32::from_le_bytes([0, 0, block[0], block[1]])),
        Encoding::Q8_0 => half(block) * f64::from(block[2 + at] as i8),
        Encoding::Q4_0 => half(block) * (int(nibble(&block[2..], at)) - 8.0),
        Encoding::Q4_1 => half(block) * int(nibble(&block[4..], at)) + half(&block[2..]),
        Encoding::Q5_0 => {
            let q = nibble(&block[6..], at) + 16 * bit(&block[2..], at);
            half(block) * (int(q) - 16.0)
        }
        Encoding::Q5_1 => {
            let q = nibble(&block[8..], at) + 16 * bit(&block[4..], at);
            half(block) * int(q) + half(&block[2..])
        }
        Encoding::Q4K => {
            let (scale, minimum) = six(at / 32);
            let q = k_nibble(&block[16..], at);
            half(block) * int(scale) * int(q) - half(&block[2..]) * int(minimum)
        }
        Encoding::Q5K => {
            let (scale, minimum) = six(at / 32);
            let q = k_nibble(&block[48..], at) + 16 * (block[16 + at % 32] >> (at / 32) & 1);
            half(block) * int(scale) * int(q) - half(&block[2..]) * int(minimum)
        }
        Encoding::Q6K => {
            let (part, at_in) = (at / 128, at % 128);
            let low = block[64 * part + at_in % 64];
            let low = if at_in < 64 { low % 16 } else { low / 16 };
            let upper = block[128 + 32 * part + at_in % 32] >> (2 * (at_in / 32)) & 3;
            let scale = block[192 + at / 16] as i8;
            half(&block[208..]) * f64::from(scale) * (int(low + 16 * upper) - 32.0)
        }
    };
    columns.map(value).collect()
}

/// Reproducible bytes of blocks whose halves are finite.
fn blocks(encoding: Encoding, count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as u8
    };
    let mut bytes: Vec<u8> = (0..count * encoding.block_bytes())
        .map(|_| byte())
        .collect();
    let halves: &[usize] = match encoding {
        Encoding::F32 => &[2],
        Encoding::F16 | Encoding::Bf16 | Encoding::Q8_0 | Encoding::Q4_0 | Encoding::Q5_0 => &[0],
        Encoding::Q4_1 | Encoding::Q5_1 | Encoding::Q4K | Encoding::Q5K => &[0, 2],
        Encoding::Q6K => &[208],
    };
    for block in bytes.chunks_mut(encoding.block_bytes()) {
        for &at in halves {
            // the highest exponent stands for infinity and NaN
            if block[at + 1] & 0x7c == 0x7c {
                block[at + 1] ^= 0x40;
            }
        }
    }
    bytes
}

/// Decoded rows of a file.
fn decoded(encoding: Encoding, bytes: &[u8], rows: usize, cols: usize) -> Vec<f32> {
    // words that are not overwritten show
    let mut words = vec![0xdead_beef; rows * encoding.row_words(cols).unwrap()];
    encoding.from_ggml(bytes, cols, &mut words).unwrap();
    let mut values = vec![f32::NAN; rows * cols];
    encoding.decode(&words, cols, &mut values).unwrap();
    values
}

#[track_caller]
fn agrees(encoding: Encoding, rows: usize, blocks_of_row: usize, seed: u64) {
    let cols = blocks_of_row * encoding.block();
    let bytes = blocks(encoding, rows * blocks_of_row, seed);
    let want = bytes
        .chunks(encoding.block_bytes())
        .flat_map(|block| reference(encoding, block));
    let got = decoded(encoding, &bytes, rows, cols);
    assert_eq!(got.len(), rows * cols);
    for (at, (got, want)) in got.into_iter().zip(want).enumerate() {
        assert_eq!(got, want as f32, "{encoding}: column {at} of {rows}x{cols}");
    }
}

#[test]
fn rows_have_the_documented_sizes() {
    let words = |encoding: Encoding, cols| encoding.row_words(cols).unwrap();
    assert_eq!(words(Encoding::F32, 7), 7);
    assert_eq!(words(Encoding::F16, 576), 288);
    assert_eq!(words(Encoding::Bf16, 33), 32);
    assert_eq!(words(Encoding::Q8_0, 576), 156);
    assert_eq!(words(Encoding::Q8_0, 1536), 408);
    assert_eq!(words(Encoding::Q4_0, 576), 84);
    assert_eq!(words(Encoding::Q4_1, 576), 92);
    assert_eq!(words(Encoding::Q5_0, 576), 100);
    assert_eq!(words(Encoding::Q5_1, 576), 108);
    assert_eq!(words(Encoding::Q4K, 1536), 6 * 36);
    assert_eq!(words(Encoding::Q5K, 1536), 6 * 44);
    assert_eq!(words(Encoding::Q6K, 1536), 316);
    for encoding in Encoding::ALL {
        assert_eq!(encoding.row_words(0), Ok(0));
        if encoding != Encoding::F32 {
            assert!(words(encoding, 5 * encoding.block()).is_multiple_of(4));
        }
    }
}

#[test]
fn rows_are_concatenated() {
    for encoding in Encoding::ALL {
        let cols = 3 * encoding.block();
        let (row_bytes, row_words) = (
            encoding.row_bytes(cols).unwrap(),
            encoding.row_words(cols).unwrap(),
        );
        let bytes = blocks(encoding, 4 * 3, 5);
        let mut all = vec![0; 4 * row_words];
        encoding.from_ggml(&bytes, cols, &mut all).unwrap();
        for row in 0..4 {
            let mut alone = vec![1; row_words];
            let bytes = &bytes[row * row_bytes..][..row_bytes];
            encoding.from_ggml(bytes, cols, &mut alone).unwrap();
            assert_eq!(alone, all[row * row_words..][..row_words], "{encoding}");
        }
    }
}

#[test]
fn a_part_of_a_row_decodes_alone() {
    fn part<F: Format>(encoding: Encoding) {
        let cols = 512;
        let bytes = blocks(encoding, cols / encoding.block(), 6);
        let mut words = vec![0; encoding.row_words(cols).unwrap()];
        encoding.from_ggml(&bytes, cols, &mut words).unwrap();
        let mut whole = vec![0.0; cols];
        encoding.decode(&words, cols, &mut whole).unwrap();
        for (first, length) in [(0, 32), (1, 64), (3, 320), (9, 40), (15, 7)] {
            let mut values = vec![0.0; length];
            decode_row::<F>(Row::new(&words, cols), first, &mut values);
            assert_eq!(values, whole[first * BLOCK..][..length], "{encoding}");
        }
    }
    for encoding in Encoding::ALL {
        for_format!(encoding, F => part::<F>(encoding), F32 => ());
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let error = Encoding::Q4_0.row_words(48).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Q4_0 stores columns in blocks of 32, but a row has 48"
    );
    assert!(Encoding::Q6K.row_bytes(128).is_err());
    let error = Encoding::Q8_0
        .from_ggml(&[0; 69], 64, &mut [0; 20])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "rows of 64 columns in Q8_0: 69 bytes are given, 68 bytes are needed"
    );
    assert!(
        Encoding::Q8_0
            .from_ggml(&[0; 68], 64, &mut [0; 19])
            .is_err()
    );
    assert!(Encoding::Q8_0.decode(&[0; 20], 64, &mut [0.0; 65]).is_err());
    assert!(Encoding::F16.encode(&[0.0; 3], 2, &mut [0; 16]).is_err());
    for encoding in [
        Encoding::Q5_0,
        Encoding::Q5_1,
        Encoding::Q4_1,
        Encoding::Q4K,
        Encoding::Q5K,
        Encoding::Q6K,
    ] {
        let mut words = vec![0; encoding.row_words(256).unwrap()];
        assert_eq!(
            encoding.encode(&[0.0; 256], 256, &mut words),
            Err(EncodingError::DecodeOnly { encoding })
        );
    }
}

/// Rounds to the nearest multiple of `unit`, ties to even.
fn nearest(x: f64, unit: f64) -> f64 {
    (x / unit).round_ties_even() * unit
}

#[test]
fn sixteen_bit_floats_are_rounded_to_nearest() {
    let values: Vec<f32> = (0..4000)
        .map(|at| (at as f32 - 2000.0) * 1.000_37e-3 * 2f32.powi(at % 30 - 20))
        .collect();
    for (encoding, digits, least) in [(Encoding::F16, 10, -14), (Encoding::Bf16, 7, -126)] {
        let mut words = vec![0; encoding.row_words(values.len()).unwrap()];
        encoding.encode(&values, values.len(), &mut words).unwrap();
        let mut back = vec![0.0; values.len()];
        encoding.decode(&words, values.len(), &mut back).unwrap();
        for (&x, got) in values.iter().zip(back) {
            let exponent = if x == 0.0 {
                0
            } else {
                (f64::from(x.abs()).log2().floor() as i32).max(least)
            };
            let want = nearest(f64::from(x), 2f64.powi(exponent - digits));
            assert_eq!(f64::from(got), want, "{encoding} of {x}");
        }
    }
}

#[test]
fn largest_magnitude_of_a_block_becomes_the_last_quant() {
    let mut x = [0f32; 32];
    for (at, x) in x.iter_mut().enumerate() {
        *x = (at as f32 - 11.0) * 0.37;
    }
    // largest magnitude 20 * 0.37 = 7.4
    let mut words = vec![0; Encoding::Q8_0.row_words(32).unwrap()];
    Encoding::Q8_0.encode(&x, 32, &mut words).unwrap();
    let quants: &[i8] = &bytemuck::cast_slice(&words)[..32];
    assert_eq!((quants[31], quants[11], quants[12]), (127, 0, 6));
    assert_eq!((quants[0], quants[10]), (-70, -6));
    // 7.4 / -8 is the scale: 7.4 becomes -8, and -4.07 becomes 4.4 + 8.5, cut off
    let mut words = vec![0; Encoding::Q4_0.row_words(32).unwrap()];
    Encoding::Q4_0.encode(&x, 32, &mut words).unwrap();
    let mut back = [0.0; 32];
    Encoding::Q4_0.decode(&words, 32, &mut back).unwrap();
    let scale = half(&half::f16::from_f32(7.4 / -8.0).to_le_bytes());
    assert_eq!(f64::from(back[31]), -8.0 * scale);
    assert_eq!(f64::from(back[0]), 4.0 * scale);
    assert_eq!(f64::from(back[11]), 0.0);
}

#[test]
fn zeros_and_ties_of_quantisers() {
    for encoding in [Encoding::Q8_0, Encoding::Q4_0] {
        let mut words = vec![1; encoding.row_words(32).unwrap()];
        encoding.encode(&[0.0; 32], 32, &mut words).unwrap();
        let mut back = [1.0; 32];
        encoding.decode(&words, 32, &mut back).unwrap();
        assert_eq!(back, [0.0; 32], "{encoding}");
    }
    // of two values of largest magnitude the first becomes -8
    let mut x = [0.0; 32];
    (x[3], x[4]) = (-2.0, 2.0);
    let mut words = vec![0; Encoding::Q4_0.row_words(32).unwrap()];
    Encoding::Q4_0.encode(&x, 32, &mut words).unwrap();
    let mut back = [0.0; 32];
    Encoding::Q4_0.decode(&words, 32, &mut back).unwrap();
    assert_eq!((back[3], back[4]), (-2.0, 1.75));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decoding_agrees_with_a_plain_reference(
        index in 0..Encoding::ALL.len(), rows in 1..4usize, blocks in 1..40usize, seed in any::<u64>(),
    ) {
        agrees(Encoding::ALL[index], rows, blocks, seed);
    }

    /// Encoding what was decoded gives it back, whatever it was.
    #[test]
    fn encoding_restores_what_it_decoded(
        index in 0..4usize, blocks_of_row in 1..5usize, values in prop::collection::vec(-3f32..3.0, 160),
    ) {
        let encoding = [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Q8_0][index];
        let cols = 32 * blocks_of_row;
        let mut words = vec![0; encoding.row_words(cols).unwrap()];
        encoding.encode(&values[..cols], cols, &mut words).unwrap();
        let mut once = vec![0.0; cols];
        encoding.decode(&words, cols, &mut once).unwrap();
        encoding.encode(&once, cols, &mut words).unwrap();
        let mut twice = vec![0.0; cols];
        encoding.decode(&words, cols, &mut twice).unwrap();
        for (once, twice) in once.iter().zip(&twice) {
            prop_assert!((once - twice).abs() <= 3e-3 * once.abs(), "{once} {twice}");
        }
    }

    /// A quantised value is within half a step of the value, or a whole one at the end of the range.
    #[test]
    fn quantised_values_are_close(values in prop::collection::vec(-5f32..5.0, 64)) {
        for (encoding, steps) in [(Encoding::Q8_0, 127.0), (Encoding::Q4_0, 8.0)] {
            let mut words = vec![0; encoding.row_words(64).unwrap()];
            encoding.encode(&values, 64, &mut words).unwrap();
            let mut back = vec![0.0; 64];
            encoding.decode(&words, 64, &mut back).unwrap();
            for (x, back) in values.chunks(32).zip(back.chunks(32)) {
                let step = x.iter().fold(0f32, |m, x| m.max(x.abs())) / steps;
                for (x, back) in x.iter().zip(back) {
                    let allowed = if steps == 8.0 { 1.01 * step } else { 0.51 * step + 1e-3 * x.abs() };
                    prop_assert!((x - back).abs() <= allowed, "{encoding}: {x} became {back}");
                }
            }
        }
    }
}
