//! Shares and chances, as they are told.

/// What is expected, of 1, in percent to a tenth; what is above 0 is never shown as 0.
pub fn expected(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 0.1 => "below 0.1 %".to_owned(),
        percent => format!("{} %", plain((percent * 10.0).round() / 10.0)),
    }
}

/// An upper bound, of 1, in percent, rounded up to a tenth.
pub fn bound(share: f64) -> String {
    // What only arithmetic made greater is not rounded up.
    format!("{} %", plain((share * 1000.0 - 1e-9).ceil() / 10.0))
}

fn plain(percent: f64) -> String {
    if percent.fract() == 0.0 {
        format!("{percent:.0}")
    } else {
        format!("{percent:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_never_shown_smaller_and_a_chance_never_as_none() {
        assert_eq!(bound(0.5271), "52.8 %");
        assert_eq!(bound(1.0), "100 %");
        assert_eq!(bound(0.3), "30 %");
        assert_eq!(expected(0.0), "0 %");
        assert_eq!(expected(0.0004), "below 0.1 %");
        assert_eq!(expected(0.024), "2.4 %");
    }
}
