//! A Windows event as `raw: true` sends it: the XML Windows renders, attributes in single quotes.

use std::fmt::Write;

use super::WindowsEvent;

pub(super) fn render(event: &WindowsEvent) -> String {
    let mut out = String::from("<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'>");
    system(event, &mut out);
    if let Some(user_data) = &event.user_data {
        let _ = write!(out, "<UserData><{}", user_data.name);
        if !user_data.xmlns.is_empty() {
            let _ = write!(out, " xmlns='{}'", escape(&user_data.xmlns));
        }
        out.push('>');
        for (name, value) in &user_data.fields {
            let _ = write!(out, "<{name}>{}</{name}>", escape(value));
        }
        let _ = write!(out, "</{}></UserData>", user_data.name);
    } else {
        event_data(event, &mut out);
    }
    rendering(event, &mut out);
    out.push_str("</Event>");
    out
}

fn system(event: &WindowsEvent, out: &mut String) {
    let _ = write!(out, "<System><Provider Name='{}'", escape(&event.provider));
    if !event.provider_guid.is_empty() {
        let _ = write!(out, " Guid='{}'", escape(&event.provider_guid));
    }
    if !event.event_source.is_empty() {
        let _ = write!(out, " EventSourceName='{}'", escape(&event.event_source));
    }
    let qualifiers = match event.qualifiers {
        0 => String::new(),
        qualifiers => format!(" Qualifiers='{qualifiers}'"),
    };
    let correlation = match event.activity_id.as_str() {
        "" => "<Correlation/>".to_owned(),
        id => format!("<Correlation ActivityID='{}'/>", escape(id)),
    };
    let security = match event.user_sid.as_str() {
        "" => "<Security/>".to_owned(),
        sid => format!("<Security UserID='{}'/>", escape(sid)),
    };
    let _ = write!(
        out,
        "/><EventID{qualifiers}>{}</EventID><Version>{}</Version><Level>{}</Level><Task>{}</Task>\
         <Opcode>{}</Opcode><Keywords>{}</Keywords><TimeCreated SystemTime='{}'/>\
         <EventRecordID>{}</EventRecordID>{correlation}<Execution ProcessID='{}' ThreadID='{}'/>\
         <Channel>{}</Channel><Computer>{}</Computer>{security}</System>",
        event.event_id,
        event.version,
        event.level,
        event.task,
        event.opcode,
        escape(&event.keywords),
        event.system_time(),
        event.record_id,
        event.process_id,
        event.thread_id,
        escape(&event.channel),
        escape(&event.computer),
    );
}

fn event_data(event: &WindowsEvent, out: &mut String) {
    match event.event_data_name.as_str() {
        "" => out.push_str("<EventData>"),
        name => {
            let _ = write!(out, "<EventData Name='{}'>", escape(name));
        }
    }
    for (name, value) in &event.event_data {
        let _ = match name.as_str() {
            "" => write!(out, "<Data>{}</Data>", escape(value)),
            name => write!(out, "<Data Name='{}'>{}</Data>", escape(name), escape(value)),
        };
    }
    if let Some(binary) = &event.binary {
        let _ = write!(out, "<Binary>{}</Binary>", escape(binary));
    }
    out.push_str("</EventData>");
}

fn rendering(event: &WindowsEvent, out: &mut String) {
    let Some(rendering) = &event.rendering else { return };
    let text = |text: &Option<String>| escape(text.as_deref().unwrap_or_default());
    let _ = write!(
        out,
        "<RenderingInfo Culture='en-US'><Message>{}</Message><Level>{}</Level><Task>{}</Task>\
         <Opcode>{}</Opcode><Channel>{}</Channel><Provider>{}</Provider><Keywords>",
        escape(&rendering.message),
        text(&rendering.level),
        text(&rendering.task),
        text(&rendering.opcode),
        escape(&event.channel),
        escape(&event.provider),
    );
    for keyword in &rendering.keywords {
        let _ = write!(out, "<Keyword>{}</Keyword>", escape(keyword));
    }
    out.push_str("</Keywords></RenderingInfo>");
}

/// Escapes, and drops what XML 1.0 cannot hold, as the receiver does before it parses.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}
