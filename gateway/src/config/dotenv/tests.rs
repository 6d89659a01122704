use super::*;

fn read(text: &str) -> Vec<(String, String)> {
    parse(Path::new(".env"), text.as_bytes()).unwrap()
}

fn value(text: &str) -> String {
    let all = read(text);
    assert_eq!(all.len(), 1, "{text:?}: {all:?}");
    all.into_iter().next().unwrap().1
}

#[test]
fn values() {
    let table = [
        ("A=b", "b"),
        ("A=", ""),
        ("A=\n", ""),
        ("  A = b  ", "b"),
        ("export A=b", "b"),
        ("export\tA=b", "b"),
        ("\u{feff}A=b\r\n", "b"),
        ("A=b c", "b c"),
        ("A=b # comment", "b"),
        ("A=b#no comment", "b#no comment"),
        ("A=#123456", "#123456"),
        ("A= # nothing", ""),
        ("A=it's", "it's"),
        ("A=$HOME and `id` and ${X}", "$HOME and `id` and ${X}"),
        (r"A=back\nslash", r"back\nslash"),
        (r"A='$x \n # \'", r"$x \n # \"),
        (r#"A="1\n2\t3\r4\\5\"6\$7""#, "1\n2\t3\r4\\5\"6$7"),
        (r#"A="C:\dir \q""#, r"C:\dir \q"),
        (r#"A="$HOME""#, "$HOME"),
        ("A=\"x # y\" # z", "x # y"),
        ("A=\"x\"#z", "x"),
        ("A=\"1\r\n2\n\"\r\n", "1\n2\n"),
        ("A='1\n\n2'", "1\n\n2"),
        ("# A=1\n\n\t# B=2\r\nA=3", "3"),
        ("A=1\nA=2", "2"),
        ("A=a=b==", "a=b=="),
        ("A=ü", "ü"),
        ("export=1", "1"),
        ("export = 1", "1"),
        ("exported=1", "1"),
        ("DATABASE_URL=postgres://x", "postgres://x"),
        ("app.name-x=1", "1"),
    ];
    for (text, expected) in table {
        assert_eq!(value(text), expected, "{text:?}");
    }
}

#[test]
fn order_is_of_first_mention_and_the_last_wins() {
    let all = read("B=1\nA=2\nB=3\n");
    assert_eq!(all, [("B".to_owned(), "3".to_owned()), ("A".to_owned(), "2".to_owned())]);
}

#[test]
fn errors_name_the_line_and_hide_the_value() {
    let table: [(&[u8], &str); 13] = [
        (b"hunter2", ".env:1:1: this line has no `=`: write KEY=value, or # before a comment\n    1 | …\n      | ^"),
        (b"A=1\n\nexport hunter2", ".env:3: this line has no `=`: write KEY=value, or # before a comment\n    3 | …"),
        (
            b"A=1\n1A=hunter2",
            ".env:2:1: the name before `=` is not one: use letters, digits and _ (and quote a value that spans lines)\n    2 | …\n      | ^",
        ),
        (
            b"=hunter2",
            ".env:1:1: the name before `=` is not one: use letters, digits and _ (and quote a value that spans lines)\n    1 | …\n      | ^",
        ),
        (
            b"A B=hunter2",
            ".env:1:1: the name before `=` is not one: use letters, digits and _ (and quote a value that spans lines)\n    1 | …\n      | ^",
        ),
        (b"\nA=\"hunter2\nB=1\n", ".env:2: the quote that opens the value of A is never closed\n    2 | A=…"),
        (b"A='hunter2", ".env:1: the quote that opens the value of A is never closed\n    1 | A=…"),
        (b"A=\"x\\\"", ".env:1: the quote that opens the value of A is never closed\n    1 | A=…"),
        (b"A='x' hunter2", ".env:1: there is text after the closing quote of A\n    1 | A=…"),
        (b"A='x\ny'hunter2", ".env:2: there is text after the closing quote of A\n    2 | …"),
        (b"X=1\r\nPORT=80", ".env:2: PORT is set by landlord itself: remove this line\n    2 | PORT=…"),
        (b"A=1\nB=hunter2\0", ".env:2: the value of B has a NUL byte, which no environment can hold\n    2 | B=…"),
        (b"A=1\nB=hunter2\xff\n", ".env:2: this line is not UTF-8: save the file as UTF-8\n    2 | …"),
    ];
    for (text, expected) in table {
        let error = parse(Path::new(".env"), text).unwrap_err().to_string();
        assert_eq!(error, expected, "{:?}", String::from_utf8_lossy(text));
        assert!(!error.contains("hunter2"), "{error}");
    }
    for name in RESERVED {
        assert!(parse(Path::new(".env"), format!("{name}=1").as_bytes()).is_err(), "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = parse(Path::new(".env"), &bytes);
    }

    #[test]
    fn no_text_of_the_grammars_letters_panics(text in "[A=\"'\\\\#$ \t\r\nexportü\0]{0,60}") {
        let _ = parse(Path::new(".env"), text.as_bytes());
    }

    #[test]
    fn what_is_quoted_is_read_back(value in "[^\0\r]*") {
        let quoted: String = value.chars().flat_map(|c| match c {
            '\\' => vec!['\\', '\\'],
            '"' => vec!['\\', '"'],
            c => vec![c],
        }).collect();
        let all = parse(Path::new(".env"), format!("A=\"{quoted}\" # x").as_bytes()).unwrap();
        proptest::prop_assert_eq!(&all[0].1, &value);
    }
}
