//! Blocks by tiles of bf16 (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
//! chapter 18, "Intel AMX").

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use super::{LANES, STEP};

/// Returns whether the processor has tiles of bf16, and Linux lets this process use them.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let features = __cpuid_count(7, 0).edx;
        let (bf16, tiles) = (1 << 22, 1 << 24);
        let has = features & (bf16 | tiles) == bf16 | tiles;
        has && is_x86_feature_detected!("avx512f") && permission()
    })
}

/// Asks Linux for the tiles' registers: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn permission() -> bool {
    let result: i64;
    // SAFETY: the call changes nothing but what this process may do
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") 158i64 => result,
            in("rdi") 0x1023i64,
            in("rsi") 18i64,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Other systems ask for registers in ways of their own.
#[cfg(not(target_os = "linux"))]
fn permission() -> bool {
    false
}

/// Shape of the tiles: palette 1, then bytes per row at 16 and rows at 48.
#[repr(C, align(64))]
struct Shape([u8; 64]);

/// Eight tiles of 16 rows of 64 bytes.
static SHAPE: Shape = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Shape(bytes)
};

/// Tiles of this thread, ready for use until dropped.
pub struct Tiles {
    /// They belong to the thread that prepared them.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Tiles {
    /// Prepares the tiles.
    ///
    /// # Panics
    /// If there are none.
    #[allow(unsafe_code)]
    pub fn new() -> Tiles {
        assert!(available());
        // SAFETY: tiles are available, and the shape is a valid one
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) SHAPE.0.as_ptr(), options(nostack, readonly));
        }
        Tiles {
            _thread: std::marker::PhantomData,
        }
    }
}

impl Drop for Tiles {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: tiles are available
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}

/// Computes a block; see [`Multiplier::transposed`](super::Multiplier::transposed), which checks the
/// lengths. Only called while [`Tiles`] exist.
///
/// Tiles 0 to 3 are the sums of two tiles of weights (4, 5) and two of activations (6, 7), which are
/// in the panels that the instruction takes as its second operand.
#[inline]
#[allow(unsafe_code)]
pub fn transposed(weights: &[u32], panels: &[u32], pairs: usize, to: &mut [f32], row: usize) {
    // SAFETY: 32 rows of `pairs` words are in `weights`, two panels in `panels`, and 32 rows of 32
    // sums in `to`
    unsafe {
        let weights = weights.as_ptr();
        let panels = panels.as_ptr();
        let to = to.as_mut_ptr();
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{upper} + {row}*1]",
            "tileloadd tmm6, [{left} + {word}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{right} + {word}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{lower} + {row}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {upper}, 64",
            "add {lower}, 64",
            "add {left}, 1024",
            "add {right}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{to} + {out}*1], tmm0",
            "tilestored [{to} + {out}*1 + 64], tmm1",
            "tilestored [{below} + {out}*1], tmm2",
            "tilestored [{below} + {out}*1 + 64], tmm3",
            upper = inout(reg) weights => _,
            lower = inout(reg) weights.add(LANES * pairs) => _,
            left = inout(reg) panels => _,
            right = inout(reg) panels.add(LANES * pairs) => _,
            steps = inout(reg) pairs / STEP => _,
            to = in(reg) to,
            below = in(reg) to.add(LANES * row),
            row = in(reg) 4 * pairs,
            word = in(reg) 64usize,
            out = in(reg) 4 * row,
            options(nostack),
        );
    }
}
