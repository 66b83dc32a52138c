//! The rounds of SipHash-1-3, on a state of four words in registers.

macro_rules! round {
    ($v:ident) => {
        $v[0] = $v[0].wrapping_add($v[1]);
        $v[1] = $v[1].rotate_left(13) ^ $v[0];
        $v[0] = $v[0].rotate_left(32);
        $v[2] = $v[2].wrapping_add($v[3]);
        $v[3] = $v[3].rotate_left(16) ^ $v[2];
        $v[0] = $v[0].wrapping_add($v[3]);
        $v[3] = $v[3].rotate_left(21) ^ $v[0];
        $v[2] = $v[2].wrapping_add($v[1]);
        $v[1] = $v[1].rotate_left(17) ^ $v[2];
        $v[2] = $v[2].rotate_left(32);
    };
}

macro_rules! word {
    ($v:ident, $word:expr) => {
        let word: u64 = $word;
        $v[3] ^= word;
        round!($v);
        $v[0] ^= word;
    };
}

pub(crate) use {round, word};

/// The state to begin with.
#[inline(always)]
pub(crate) fn begin((k0, k1): (u64, u64)) -> [u64; 4] {
    [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]
}

/// 128 bits of output.
#[inline(always)]
pub(crate) fn end(state: [u64; 4]) -> [u64; 2] {
    let mut v = state;
    v[2] ^= 0xee;
    round!(v);
    round!(v);
    round!(v);
    let low = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    round!(v);
    round!(v);
    round!(v);
    [low, v[0] ^ v[1] ^ v[2] ^ v[3]]
}
