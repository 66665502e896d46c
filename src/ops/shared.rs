//! WGSL sources that several kernels share, to append to a kernel's own file with
//! [`kernel!`](crate::kernel!).
//!
//! Each constant is the text of a file in `shaders/shared/`; its header comment says what it
//! defines and what it expects of the kernel.

macro_rules! shared {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)+) => {
        $(
            $(#[$doc])*
            pub const $name: &str = include_str!(concat!("../../shaders/shared/", $file, ".wgsl"));
        )+

        #[cfg(test)]
        const FILES: &[&str] = &[$($file),+];
    };
}

shared! {
    /// Activations and their derivatives, by number.
    ACTIVATION = "activation";
    /// Operands of attention where a decoded row is appended to its cache.
    ATTENTION_CACHE = "attention_cache";
    /// Operands of attention as halves.
    ATTENTION_F16 = "attention_f16";
    /// Operands of attention as f32.
    ATTENTION_F32 = "attention_f32";
    /// 4 by 4 blocks of the matrices of a product, and its results as vec4.
    BLOCKS = "blocks";
    /// Cooperative matrices of 16 by 16.
    COOPERATIVE_16 = "cooperative_16";
    /// Cooperative matrices of 8 by 8.
    COOPERATIVE_8 = "cooperative_8";
    /// Unpacking of two halves in each u32.
    HALVES = "halves";
    /// Builtins of an invocation that is known by its index in the workgroup.
    INVOCATION = "invocation";
    /// Sum over the invocations of a tile through workgroup memory.
    LANES_MEMORY = "lanes_memory";
    /// Sum over the invocations of a tile by subgroup shuffles.
    LANES_SHUFFLE = "lanes_shuffle";
    /// `lanes` as one element.
    NARROW = "narrow";
    /// Operands of a product as halves.
    OPERANDS_F16 = "operands_f16";
    /// Operands of a product as f32.
    OPERANDS_F32 = "operands_f32";
    /// What the formats of packed weights have in common.
    PACKED = "packed";
    /// Packed weights in BF16.
    PACKED_BF16 = "packed_bf16";
    /// Packed weights in F16.
    PACKED_F16 = "packed_f16";
    /// Packed weights in Q4_0.
    PACKED_Q4_0 = "packed_q4_0";
    /// Packed weights in Q4_1.
    PACKED_Q4_1 = "packed_q4_1";
    /// Packed weights in Q4_K.
    PACKED_Q4_K = "packed_q4_k";
    /// Packed weights in Q5_0.
    PACKED_Q5_0 = "packed_q5_0";
    /// Packed weights in Q5_1.
    PACKED_Q5_1 = "packed_q5_1";
    /// Packed weights in Q5_K.
    PACKED_Q5_K = "packed_q5_k";
    /// Packed weights in Q6_K.
    PACKED_Q6_K = "packed_q6_k";
    /// Packed weights in Q8_0.
    PACKED_Q8_0 = "packed_q8_0";
    /// Sizes, tiles and splits of a matrix product.
    PRODUCT = "product";
    /// Epilogue of a product: a bias.
    PRODUCT_BIAS = "product_bias";
    /// Epilogue of a product: a bias, then an activation.
    PRODUCT_BIAS_ACTIVATION = "product_bias_activation";
    /// Epilogue of a product: none.
    PRODUCT_PLAIN = "product_plain";
    /// Counter-based random numbers and dropout masks.
    RANDOM = "random";
    /// Sum and maximum over a workgroup.
    REDUCE = "reduce";
    /// Decision about a step, as `Tape::grad_scaler` stores it.
    VERDICT = "verdict";
    /// `lanes` as four elements.
    WIDE = "wide";
}

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn every_shared_file_has_a_constant() {
        for entry in std::fs::read_dir("shaders/shared").unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            assert!(FILES.contains(&stem), "{} has no constant", path.display());
        }
    }
}
