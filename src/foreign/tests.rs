use super::{secrets::SecretTexts, *};

/// All that a hostile name may hold.
const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\u{7}\r\nb\u{202e}c\u{2028}d\u{2029}e\u{85}f\u{200b}\u{feff}\u{7f}\u{e0041}g";

#[test]
fn a_line_is_one_line_that_does_nothing() {
    let cleaned = line(HOSTILE);
    assert!(!cleaned.contains(acts) && !cleaned.contains('\n'), "{cleaned:?}");
    assert!(cleaned.starts_with("a [2J 31m"), "{cleaned:?}");
    for kept in ["Zoë Ærøskøbing", "محمد", "नमस्\u{200d}ते", "日本語", "👩\u{200d}🚀"] {
        assert_eq!(line(kept), kept);
    }
}

#[test]
fn lines_keep_ours_and_nothing_else() {
    assert_eq!(lines("a\n  b\u{2028}c\rd"), "a\n  b c d");
}

#[test]
fn json_keeps_every_value_and_shows_nothing_that_acts() {
    let value = serde_json::json!({ "name": HOSTILE, "list": ["\u{9b}", "\u{e0041}"] });
    let text = json(&serde_json::to_string_pretty(&value).unwrap());
    assert!(!text.contains(|c| acts(c) && c != '\n'), "{text:?}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
}

#[test]
fn a_room_is_not_called_and_gets_no_link_no_image_and_no_email() {
    for (text, shown) in [
        ("hello @channel", "hello (at)channel"),
        ("@here: look", "(at)here: look"),
        ("write to kim@example.com, please", "write to (email), please"),
        ("<mailto:kim@example.com|kim>", "<mailto:(email)|kim>"),
        ("\"kim+x@example.co.uk\"", "\"(email)\""),
        ("see https://evil.example/x", "see https: //evil.example/x"),
        ("![x](http://evil.example/p.png)", "!(x)(http: //evil.example/p.png)"),
        ("[click](javascript:1)", "(click)(javascript:1)"),
        ("www.evil.example", "www evil.example"),
        ("a\n@everyone", "a (at)everyone"),
        ("key [redacted] was refused", "key (redacted) was refused"),
        ("`makegood show 7`", "`makegood show 7`"),
    ] {
        assert_eq!(chat(text), shown);
    }
}

#[test]
fn a_secret_is_found_in_every_form() {
    let secrets = SecretTexts::new(["fpk_Li/ve-1234567890", "fpk_Li", "short"]);
    for text in [
        "fpk_Li/ve-1234567890",
        "FPK_LI/VE-1234567890",
        "fpk_Li\\/ve-1234567890",
        "\\u0066pk_Li/ve-1234567890",
        "\\\\u0066pk_Li\\\\/ve-123456789\\u0030",
        "%66pk_Li%2Fve-1234567890",
        "&#102;pk_Li&#x2f;ve-1234567890",
        "fpk_Li",
    ] {
        let told = format!("the key {text} is wrong");
        assert_eq!(secrets.redact(&told), "the key [redacted] is wrong", "{text}");
        let in_json = serde_json::to_string(&told).unwrap();
        assert_eq!(secrets.redact(&in_json), "\"the key [redacted] is wrong\"", "{text}");
    }
    for cut in ["it said fpk_Li/ve-12345", "it said fpk_Li/ve-12…", "{\"it said fpk_Li/ve-12\""] {
        assert!(!secrets.redact(cut).contains("ve-12"), "{cut}");
    }
    for other in ["short", "fpk", "nothing of it", "50% \\ & \\u12 &#; %"] {
        assert_eq!(secrets.redact(other), other);
    }
    assert!(!format!("{secrets:?}").contains("fpk"));
}

#[test]
fn a_cut_is_visible_and_counts_characters() {
    assert_eq!((cut("äöü", 3), cut("äöüß", 3)), ("äöü".to_owned(), "äö…".to_owned()));
    assert_eq!(quote("a\u{1b}b", 9), "a b");
    assert_eq!(stored(&"x".repeat(1_000_000)).chars().count(), STORED_MAX);
}

proptest::proptest! {
    #[test]
    fn no_text_panics_and_none_acts(text: String) {
        let secrets = SecretTexts::new(["secret-token"]);
        for cleaned in [line(&text), chat(&text), quote(&text, 20), secrets.redact(&line(&text))] {
            proptest::prop_assert!(!cleaned.contains(acts));
        }
        proptest::prop_assert!(!json(&serde_json::to_string(&text).unwrap()).contains(acts));
    }

    #[test]
    fn a_secret_is_found_wherever_it_stands(before: String, after: String) {
        let secrets = SecretTexts::new(["secret-token"]);
        let shown = secrets.redact(&format!("{before}secret-token{after}"));
        proptest::prop_assert!(!shown.contains("secret-token"));
    }
}
