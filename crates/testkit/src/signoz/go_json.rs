//! JSON as Go's `encoding/json` prints a map: keys sorted bytewise, no blanks, and, in Collectors
//! before v0.152, `<`, `>` and `&` as `\u003c`, `\u003e`, `\u0026`.

use std::fmt::Write;

use serde_json::{Number, Value};

/// How `<`, `>` and `&` are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Html {
    /// As escapes: Collectors before v0.152, all SigNoz releases so far.
    #[default]
    Escaped,
    /// As they are: Collectors since v0.152.
    Plain,
}

/// The text of a value.
#[must_use]
pub fn encode(value: &Value, html: Html) -> String {
    let mut out = String::new();
    write_value(value, html, &mut out);
    out
}

fn write_value(value: &Value, html: Html, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, html, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(item, html, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(key, html, out);
                out.push(':');
                write_value(value, html, out);
            }
            out.push('}');
        }
    }
}

fn write_number(number: &Number, out: &mut String) {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        out.push_str(&number.to_string());
        return;
    };
    let size = float.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        // Go writes an exponent of one digit as such, and a plus before a positive one.
        let text = format!("{float:e}");
        out.push_str(&match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        });
    } else {
        let _ = write!(out, "{float}");
    }
}

fn write_string(text: &str, html: Html, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if html == Html::Escaped => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn as_go_prints_it() {
        let value = json!({"b": [1, -2, 2.5, 1e21, 1e-7, 3.0], "a": "<x> & \"y\"\\\r\n\t\u{1}\u{2028}ö", "B": null, "": true});
        assert_eq!(
            encode(&value, Html::Escaped),
            r#"{"":true,"B":null,"a":"\u003cx\u003e \u0026 \"y\"\\\r\n\t\u0001\u2028ö","b":[1,-2,2.5,1e+21,1e-7,3]}"#
        );
        assert_eq!(encode(&json!("<&>"), Html::Plain), "\"<&>\"");
    }
}
