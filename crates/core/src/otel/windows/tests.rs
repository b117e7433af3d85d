//! One event in all the forms in which it arrives.

use crate::otel::{LogRecord, Taxonomy};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;

static TAXONOMY: LazyLock<Taxonomy> = LazyLock::new(|| Taxonomy::builtin().unwrap());

/// What a record became: class, host, and all fields as `name=value`.
#[derive(Debug, PartialEq)]
struct Seen {
    class: String,
    host: String,
    fields: BTreeSet<String>,
    fault: Option<String>,
}

fn seen(record: &LogRecord<'_>) -> Seen {
    let event = TAXONOMY.events(record).remove(0);
    let text = |value: &crate::value::Value<'_>| value.text().map_or("null".into(), Cow::into_owned);
    Seen {
        class: event.class.map_or("none".into(), |id| TAXONOMY.classes[id.0 as usize].name.clone()),
        host: event.host.to_string(),
        fields: event.fields.iter().map(|(name, value)| format!("{name}={}", text(value))).collect(),
        fault: event.fault,
    }
}

fn body(text: &str) -> Seen {
    seen(&LogRecord { body: Cow::Borrowed(text), ..LogRecord::default() })
}

#[track_caller]
fn has(seen: &Seen, fields: &[&str]) {
    for field in fields {
        assert!(seen.fields.contains(*field), "no {field} in {seen:#?}");
    }
}

#[test]
fn data_that_speaks_of_another_event_does_not_change_which_event_this_is() {
    let text = r#"{"channel":"Security","computer":"w1","event_id":{"id":1108},"user_data":{"name":"EventProcessingFailure","data":"map[EventID:4634 PublisherID:P]"}}"#;
    let seen = body(text);
    has(&seen, &["EventID=1108", "PublisherID=P"]);
    assert!(!seen.fields.contains("EventID=4634"), "{seen:#?}");
}

#[test]
fn the_collectors_shapes_b_c_and_d_give_the_same_event() {
    let event_of = |data: &str| {
        format!(
            r#"{{"channel":"security","computer":"WIN01.corp.example","event_data":{data},"event_id":{{"id":4625,"qualifiers":0}},"keywords":["Audit Failure"],"level":"Information","provider":{{"event_source":"","guid":"{{5}}","name":"P"}}}}"#
        )
    };
    let map = event_of(r#"{"LogonProcessName":"NtLmSsp ","IpAddress":"10.0.0.66"}"#);
    let list = event_of(r#"{"data":[{"LogonProcessName":"NtLmSsp "},{"IpAddress":"10.0.0.66"}]}"#);
    assert_eq!(body(&map), body(&list));
    let seen = body(&map);
    assert_eq!((seen.class.as_str(), seen.host.as_str()), ("windows/security", "WIN01.corp.example"));
    has(&seen, &["EventID=4625", "Channel=security", "Provider_Name=P", "LogonProcessName=NtLmSsp "]);
    has(&seen, &["Keywords=Audit Failure", "Keywords=0x8010000000000000", "Level=4", "Level=Information"]);
}

#[test]
fn an_event_id_may_be_a_number_a_text_or_an_object() {
    for id in ["4625", "\"4625\"", "{\"id\":4625}", "{\"id\":\"4625\"}"] {
        let seen = body(&format!(r#"{{"channel":"Security","event_id":{id}}}"#));
        assert_eq!(seen.class, "windows/security", "{id}");
        has(&seen, &["EventID=4625"]);
    }
}

#[test]
fn data_without_a_name_is_data_and_param_n_in_every_shape() {
    let shapes = [
        r#"["Available","None"]"#,
        r#"{"data":[{"":"Available"},{"":"None"}]}"#,
        r#"{"param1":"Available","param2":"None"}"#,
    ];
    for shape in shapes {
        let text =
            format!(r#"{{"channel":"Windows PowerShell","event_id":{{"id":400}},"event_data":{shape}}}"#);
        let seen = body(&text);
        assert_eq!(seen.class, "windows/powershell-classic/400");
        has(&seen, &["Data=Available", "Data=None", "param1=Available", "param2=None"]);
    }
    let xml = "<Event><System><EventID>400</EventID><Channel>Windows PowerShell</Channel></System>\
        <EventData><Data>Available</Data><Data>None</Data></EventData></Event>";
    has(&body(xml), &["Data=Available", "Data=None", "param1=Available", "param2=None"]);
}

#[test]
fn the_oldest_shape_gets_its_names_by_position() {
    let seen = body(
        r#"{"channel":"Security","computer":"W","event_id":4688,"provider":{"name":"Microsoft-Windows-Security-Auditing"},
        "event_data":["S-1-5-18","WIN$","CORP","0x3e7","0x1a4","C:\\a.exe","%%1936","0x4"]}"#,
    );
    has(&seen, &["NewProcessName=C:\\a.exe", "SubjectUserName=WIN$", "process_creation.ParentProcessId=4"]);
    assert!(
        !seen.fields.iter().any(|field| field.starts_with("Data=") || field.starts_with("param")),
        "{seen:?}"
    );
}

#[test]
fn an_unknown_order_gets_sysmons_names_from_the_message() {
    let seen = body(
        r#"{"channel":"Microsoft-Windows-Sysmon/Operational","computer":"W","event_id":1,"provider":{"name":"Microsoft-Windows-Sysmon"},
        "event_data":["-","C:\\a.exe","a: b"],"message":"Process Create:\r\nRuleName: -\r\nImage: C:\\a.exe\r\nCommandLine: a: b"}"#,
    );
    has(&seen, &["Image=C:\\a.exe", "CommandLine=a: b", "Data=C:\\a.exe"]);
}

#[test]
fn creation_of_a_process_is_seen_with_sigmas_fields() {
    let text = r#"{"channel":"Security","computer":"W","event_id":{"id":4688},"event_data":{
        "NewProcessId":"0x19f4","ProcessId":"0x1018","SubjectUserName":"bob","SubjectDomainName":"CORP",
        "TargetUserName":"-","TargetDomainName":"-","MandatoryLabel":"S-1-16-16384"}}"#;
    let seen = body(text);
    assert_eq!(seen.class, "windows/security/4688");
    has(&seen, &["process_creation.ProcessId=6644", "process_creation.ParentProcessId=4120"]);
    has(&seen, &["process_creation.User=CORP\\bob", "process_creation.IntegrityLevel=System"]);
    has(&seen, &["process_creation.IntegrityLevel=S-1-16-16384"]);
    let class = TAXONOMY.classes.iter().find(|class| class.name == "windows/security/4688").unwrap();
    let view =
        class.views.iter().find(|v| v.logsource.category.as_deref() == Some("process_creation")).unwrap();
    assert_eq!(view.native("Image"), ["NewProcessName"]);
    assert_eq!(view.native("image"), ["NewProcessName"]);
    assert!(view.native("OriginalFileName").is_empty());
    assert_eq!(view.native("CommandLine"), ["CommandLine"]);
    let security = class.views.iter().find(|v| v.logsource.service.as_deref() == Some("security")).unwrap();
    assert_eq!(security.native("ProcessId"), ["ProcessId"]);
}

#[test]
fn a_registry_event_is_told_apart_by_its_type() {
    let categories = |kind: &str| {
        let text = format!(
            r#"{{"channel":"Microsoft-Windows-Sysmon/Operational","event_id":{{"id":12}},"event_data":{{"EventType":"{kind}"}}}}"#
        );
        let class = body(&text).class;
        let class = TAXONOMY.classes.iter().find(|c| c.name == class).unwrap();
        class.views.iter().filter_map(|view| view.logsource.category.as_deref()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(categories("CreateKey"), "registry_add registry_event");
    assert_eq!(categories("DeleteValue"), "registry_delete registry_event");
    assert_eq!(categories("?"), "registry_event");
}

#[test]
fn user_data_is_an_object_or_gos_printed_map() {
    let object = r#"{"name":"LogFileCleared","data":{"Channel":"System","SubjectUserName":"bob b"}}"#;
    let printed =
        r#"{"name":"LogFileCleared","data":"map[BackupPath: Channel:System SubjectUserName:bob b]"}"#;
    for user_data in [object, printed] {
        let text = format!(
            r#"{{"channel":"System","event_id":{{"id":104}},"event_data":{{}},"user_data":{user_data}}}"#
        );
        has(&body(&text), &["SubjectUserName=bob b", "Channel=System"]);
    }
    let xml = "<Event><System><EventID>104</EventID><Channel>System</Channel></System><UserData>\
        <LogFileCleared xmlns='http://x'><SubjectUserName>bob b</SubjectUserName></LogFileCleared>\
        </UserData></Event>";
    has(&body(xml), &["SubjectUserName=bob b", "Channel=System"]);
}

#[test]
fn gos_printed_map_is_split_at_its_sorted_keys() {
    let text = r#"{"channel":"X","event_id":{"id":5858},"user_data":{"data":"map[Id:{0} Operation:Start A::B - C:D Abc:x \\\\h PossibleCause: User:H\\\\bob http://x]"}}"#;
    let seen = body(text);
    has(
        &seen,
        &["Id={0}", "Operation=Start A::B - C:D Abc:x \\\\h", "PossibleCause=", "User=H\\\\bob http://x"],
    );
    assert!(!seen.fields.iter().any(|field| field.starts_with("A=") || field.starts_with("Abc=")));
}

#[test]
fn the_original_xml_helps_out_where_the_body_has_no_data() {
    let xml = "<Event><System><EventID>1102</EventID><Channel>Security</Channel><Computer>W</Computer></System>\
        <UserData><L><SubjectUserName>bob</SubjectUserName></L></UserData></Event>";
    let record = LogRecord {
        body: r#"{"channel":"Security","computer":"W","event_id":{"id":1102},"event_data":{}}"#.into(),
        attributes_string: vec![("log.record.original".into(), xml.into())],
        ..LogRecord::default()
    };
    has(&seen(&record), &["SubjectUserName=bob", "EventID=1102"]);
}

#[test]
fn xml_entities_quotes_sections_and_namespaces_are_read() {
    let xml = "<e:Event xmlns:e='x'><e:System><e:Provider Name='A &amp; B'/><e:EventID Qualifiers='16384'>7045</e:EventID>\
        <e:Channel>System</e:Channel><e:Level>0</e:Level><e:Keywords>0x8020000000000000</e:Keywords></e:System>\
        <e:EventData><e:Data Name=\"C\">cmd /c &quot;a &amp;&amp; b&quot; &gt; c&#x41;.txt</e:Data>\
        <e:Data Name='D'><![CDATA[<x>]]></e:Data><e:Data Name='Empty'/><e:Binary>0A14</e:Binary></e:EventData></e:Event>";
    let xml = xml.replace("e:Event ", "Event ").replace("e:Event>", "Event>");
    let seen = body(&xml);
    assert_eq!((seen.class.as_str(), &seen.fault), ("windows/system", &None));
    has(&seen, &["Provider_Name=A & B", "C=cmd /c \"a && b\" > cA.txt", "D=<x>", "Empty=", "Binary=0A14"]);
    has(&seen, &["Keywords=Audit Success", "Level=0", "Level=Information", "EventID_Qualifiers=16384"]);
}

#[test]
fn cut_xml_gives_what_was_complete_and_a_fault() {
    let xml = "Aug  5 10:15:30 lin01 x: <Event><System><EventID>1</EventID><Channel>Application</Channel></System>\
        <EventData><Data Name='A'>1</Data><Data Name='B'>2";
    let seen = body(xml);
    has(&seen, &["A=1", "EventID=1"]);
    assert!(!seen.fields.contains("B=2"));
    assert!(seen.fault.unwrap().contains("cut at byte"));
}

#[test]
fn attributes_made_of_a_body_are_read_like_the_body() {
    let attribute = |name: &'static str, value: &'static str| (Cow::Borrowed(name), Cow::Borrowed(value));
    let nested = LogRecord {
        attributes_string: vec![
            attribute("channel", "Security"),
            attribute("computer", "W"),
            attribute("event_id", r#"{"id":4624,"qualifiers":0}"#),
            attribute("event_data", r#"{"LogonType":"3"}"#),
        ],
        ..LogRecord::default()
    };
    let flat = LogRecord {
        attributes_string: vec![
            attribute("channel", "Security"),
            attribute("computer", "W"),
            attribute("event_data.LogonType", "3"),
        ],
        attributes_number: vec![("event_id.id".into(), 4624.0), ("event_id.qualifiers".into(), 0.0)],
        ..LogRecord::default()
    };
    let pathless = LogRecord {
        attributes_string: vec![
            attribute("channel", "Security"),
            attribute("computer", "W"),
            attribute("LogonType", "3"),
        ],
        attributes_number: vec![("id".into(), 4624.0)],
        ..LogRecord::default()
    };
    for record in [nested, flat, pathless] {
        let seen = seen(&record);
        assert_eq!((seen.class.as_str(), seen.host.as_str()), ("windows/security", "W"));
        has(&seen, &["EventID=4624", "LogonType=3"]);
    }
}

#[test]
fn other_shippers_forms_are_read() {
    let forms = [
        r#"{"winlog":{"channel":"Security","event_id":"4624","computer_name":"W","event_data":{"LogonType":"3"}}}"#,
        r#"{"winlog.channel":"Security","winlog.event_id":4624,"winlog.computer_name":"W","winlog.event_data.LogonType":"3"}"#,
        r#"{"winlog":{"channel":"Security","computer_name":"W","event_data":{"LogonType":"3"}},"event":{"code":"4624"}}"#,
        r#"{"Channel":"Security","EventID":4624,"Hostname":"W","SourceName":"P","LogonType":"3","ProcessID":4}"#,
        r##"{"Event":{"System":{"EventID":{"#text":4624},"Channel":"Security","Computer":"W"},"EventData":{"LogonType":3}}}"##,
    ];
    for form in forms {
        let seen = body(form);
        assert_eq!((seen.class.as_str(), seen.host.as_str()), ("windows/security", "W"), "{form}");
        has(&seen, &["EventID=4624", "LogonType=3"]);
        assert!(!seen.fields.contains("ProcessID=4"), "the logging process is not the event's");
    }
}

#[test]
fn an_unknown_channel_is_windows_still() {
    assert_eq!(body(r#"{"channel":"Vendor/Any","event_id":{"id":7}}"#).class, "windows");
}

#[test]
fn the_measured_bodies_give_equal_events_in_all_spellings() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/formats/examples/windows-bodies.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no {}", path.display());
        return;
    };
    let bodies: Map<String, Json> = serde_json::from_str(&text).unwrap();
    assert_eq!(bodies.len(), 6);
    for (name, forms) in &bodies {
        let form = |key: &str| body(forms[key].as_str().unwrap());
        let escaped = form("C");
        assert_eq!(escaped, form("C_nohtml"), "{name}");
        let mut newer = form("D");
        newer.fields.retain(|field| !field.starts_with("Version="));
        let anonymous = |field: &String| !field.starts_with("Data=") && !field.starts_with("param");
        assert_eq!(escaped, newer, "{name}");
        assert!(escaped.fields.iter().filter(|f| anonymous(f)).count() > 5);
    }
}

/// Text as event data holds it: no characters that XML forbids.
fn value() -> impl Strategy<Value = String> {
    "[ -~äß\u{2028}日\\t\\n]{0,24}"
}

fn go_escaped(json: &Json) -> String {
    json.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn xml_escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_form_of_one_event_gives_equal_fields(
        data in prop::collection::btree_map("[A-Z][A-Za-z]{0,8}x", value(), 0..6),
        id in 1..70000_u32,
    ) {
        let map: Map<String, Json> = data.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let list: Vec<Json> = data.iter().map(|(k, v)| json!({k: v})).collect();
        let event = |data: Json| json!({
            "channel": "System", "computer": "W", "event_data": data, "event_id": {"id": id},
            "provider": {"name": "P"}, "keywords": ["0x80000000000000"], "level": "2",
        });
        let (d, c) = (event(json!(map)), event(json!({"data": list})));
        let elements: String = data.iter()
            .map(|(k, v)| format!("<Data Name='{k}'>{}</Data>", xml_escaped(v))).collect();
        let xml = format!(
            "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>\
             <Provider Name='P'/><EventID>{id}</EventID><Level>2</Level><Keywords>0x80000000000000</Keywords>\
             <Channel>System</Channel><Computer>W</Computer></System><EventData>{elements}</EventData></Event>"
        );
        let expected = body(&d.to_string());
        prop_assert_eq!(&expected.fault, &None);
        for text in [go_escaped(&d), c.to_string(), go_escaped(&c), xml] {
            prop_assert_eq!(&body(&text), &expected, "{}", text);
        }
    }

    #[test]
    fn a_damaged_event_never_panics(cut in 0..400_usize, byte in any::<char>()) {
        let json = r#"{"channel":"System","computer":"W","event_data":{"data":[{"":"a\u003cb"},{"B":"2"}]},"event_id":{"id":1},"user_data":{"data":"map[A:b C:d]"}}"#;
        let xml = "<Event xmlns='x'><System><EventID>1</EventID><Channel>System</Channel></System><EventData><Data Name='A'>&lt;é</Data></EventData></Event>";
        for text in [json, xml] {
            let mut at = cut.min(text.len());
            while !text.is_char_boundary(at) { at -= 1; }
            body(&text[..at]);
            body(&format!("{}{byte}{}", &text[..at], &text[at..]));
        }
    }
}
