//! "Did you mean": the closest of the known names.

/// Says that `name` is not one of `known`, with the nearest of them when one is near.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), *k))
        .filter(|(distance, k)| *distance <= 1 + k.len() / 3)
        .min();
    match near {
        Some((_, near)) => format!("unknown {what} `{name}`; did you mean `{near}`?"),
        None => format!("unknown {what} `{name}`; known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::unknown;

    #[test]
    fn near_names_are_suggested_and_far_ones_listed() {
        assert_eq!(
            unknown("link profile", "dls", ["lan", "dsl"]),
            "unknown link profile `dls`; did you mean `dsl`?"
        );
        assert_eq!(
            unknown("link profile", "carrier-pigeon", ["lan", "dsl"]),
            "unknown link profile `carrier-pigeon`; known: lan, dsl"
        );
    }
}
