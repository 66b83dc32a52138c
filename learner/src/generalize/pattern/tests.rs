use proptest::prelude::*;

use super::super::class::Form;
use super::*;

fn text(text: &str) -> Piece {
    Piece::Text(text.as_bytes().into())
}

fn varying(pieces: &[Piece]) -> Segment {
    Segment::Varying(Form(pieces.to_vec()))
}

fn name(text: &str) -> Segment {
    Segment::Literal(text.as_bytes().into())
}

fn in_spool(segment: Segment) -> Shape {
    Shape {
        segments: vec![name("spool"), segment],
        directory: false,
    }
}

#[test]
fn a_wider_pattern_takes_in_a_narrower_one_and_never_the_other_way() {
    let token = |class| Piece::Token(class);
    let id = varying(&[
        token(Class::Mixed),
        text("-"),
        token(Class::Mixed),
        text("-13-D"),
    ]);
    let any = varying(&[token(Class::Changing)]);
    let number = varying(&[text("failed-"), token(Class::Number), text(".txt")]);
    let hex = varying(&[text("failed-"), token(Class::Hex), text(".txt")]);
    for (wide, narrow) in [
        (&any, &id),
        (&any, &number),
        (&hex, &number),
        (&any, &name("a name")),
        (&number, &name("failed-12.txt")),
        // AppArmor's syntax in a name is any one byte in its pattern.
        (&name("a b"), &name("axb")),
    ] {
        assert!(segment_takes_in(wide, narrow), "{wide:?} {narrow:?}");
        assert!(!segment_takes_in(narrow, wide), "{narrow:?} {wide:?}");
    }
    for (one, other) in [
        (&number, &name("failed-x.txt")),
        (&number, &name("failed-1.txt~")),
        (&id, &number),
        (&any, &Segment::Tree(Class::Cgroup)),
    ] {
        assert!(!segment_takes_in(one, other), "{one:?} {other:?}");
        assert!(!segment_takes_in(other, one), "{other:?} {one:?}");
    }
}

#[test]
fn the_first_process_is_in_no_pattern_for_processes() {
    let pid = varying(&[Piece::Token(Class::Pid)]);
    assert!(!segment_takes_in(&pid, &name("1")));
    assert!(segment_takes_in(&pid, &pid));
}

#[test]
fn a_directory_and_a_file_of_one_name_are_not_the_same() {
    let file = in_spool(varying(&[Piece::Token(Class::Changing)]));
    let directory = Shape {
        directory: true,
        ..file.clone()
    };
    assert!(covers(&file, &file) && !covers(&file, &directory) && !covers(&directory, &file));
    let deeper = Shape {
        segments: [file.segments.clone(), vec![name("x")]].concat(),
        ..file.clone()
    };
    assert!(!covers(&file, &deeper) && !covers(&deeper, &file));
}

#[test]
fn all_that_is_in_a_directory_is_taken_in_at_any_depth_and_the_directory_itself_is_not() {
    let within = in_spool(WITHIN);
    let directory = in_spool(name("x"));
    let deeper = Shape {
        segments: [directory.segments.clone(), vec![name("y")]].concat(),
        directory: true,
    };
    let itself = Shape {
        segments: vec![name("spool")],
        directory: true,
    };
    let elsewhere = Shape {
        segments: vec![name("srv"), name("x")],
        directory: false,
    };
    for shape in [&within, &directory, &deeper] {
        assert!(covers(&within, shape), "{shape}");
    }
    for shape in [&itself, &elsewhere] {
        assert!(!covers(&within, shape), "{shape}");
    }
    assert!(!covers(&deeper, &within) && !covers(&directory, &within));
    assert_eq!(within.glob(), "/spool/**");
    assert!(matches(&within, "/spool/x/y") && !matches(&within, "/srv/x"));
}

fn any_segment() -> impl Strategy<Value = Segment> {
    let piece = prop_oneof![
        "[a1-]{1,2}".prop_map(|word| text(&word)),
        prop::sample::select(vec![
            Class::Number,
            Class::Hex,
            Class::Mixed,
            Class::Temporary,
            Class::Random,
            Class::Changing,
            Class::Range,
            Class::Pid,
        ])
        .prop_map(Piece::Token),
    ];
    prop_oneof![
        "[a1 -]{1,4}".prop_map(|word| name(&word)),
        prop::collection::vec(piece, 1..4).prop_map(|pieces| varying(&pieces)),
        Just(WITHIN),
    ]
}

/// As KubeArmor's patterns are matched where a policy is judged.
fn matches(shape: &Shape, path: &str) -> bool {
    let glob = globset::GlobBuilder::new(&shape.glob())
        .literal_separator(true)
        .build()
        .expect("a pattern");
    glob.compile_matcher().is_match(path)
}

proptest! {
    #[test]
    fn what_a_pattern_takes_in_it_matches(
        wide in any_segment(),
        narrow in any_segment(),
        word in "[a1 -]{1,6}",
    ) {
        let (wide, narrow) = (in_spool(wide), in_spool(narrow));
        let path = format!("/spool/{word}");
        let as_seen = !matches!(&narrow.segments[1], Segment::Literal(_))
            || narrow.segments[1] == name(&word);
        if covers(&wide, &narrow) && as_seen && matches(&narrow, &path) {
            prop_assert!(matches(&wide, &path), "{wide} takes in {narrow}, and not {path}");
        }
    }

    #[test]
    fn patterns_are_found_as_they_would_be_one_by_one(
        all in prop::collection::vec(any_segment(), 1..12),
        needed in any_segment(),
    ) {
        let rule = |segment: &Segment| Rule {
            class: RuleClass::File,
            target: super::super::Target::Pattern(in_spool(segment.clone())),
            source: None,
        };
        let rules: BTreeSet<Rule> = all.iter().map(rule).collect();
        let mut patterns = Patterns::default();
        for segment in all.iter().collect::<BTreeSet<_>>() {
            patterns.add(&in_spool(segment.clone()), &rule(segment));
        }
        let needed = in_spool(needed);
        let found: BTreeSet<&Rule> =
            patterns.covering(RuleClass::File, &needed).into_iter().collect();
        let wanted: BTreeSet<&Rule> =
            rules.iter().filter(|rule| rule.target.covers(&needed)).collect();
        prop_assert_eq!(found, wanted);
    }
}
