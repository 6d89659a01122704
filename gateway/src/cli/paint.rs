//! Colours of tables.

/// What a cell of a table looks like.
#[derive(Clone, Copy)]
pub(super) enum Paint {
    Bold,
    Dim,
    Red,
    Yellow,
    Green,
}

/// `text` in that colour, where there are colours.
pub(super) fn paint(text: &str, paint: Paint, colour: bool) -> String {
    let code = match paint {
        Paint::Bold => 1,
        Paint::Dim => 2,
        Paint::Red => 31,
        Paint::Yellow => 33,
        Paint::Green => 32,
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
