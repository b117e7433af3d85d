//! Windows events of ordinary work: Sysmon, Security, PowerShell, System.

use super::random::Random;
use super::{Host, Kind};
use crate::windows::{Rendering, WindowsEvent};

/// The data of an event, in order.
pub(super) type Data = Vec<(String, String)>;

pub(super) fn data(pairs: &[(&str, &str)]) -> Data {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A channel's provider and the texts Windows renders for one of its events.
struct Source {
    channel: &'static str,
    provider: &'static str,
    guid: &'static str,
    keywords: &'static str,
    rendered_keywords: &'static [&'static str],
}

const SYSMON: Source = Source {
    channel: "Microsoft-Windows-Sysmon/Operational",
    provider: "Microsoft-Windows-Sysmon",
    guid: "{5770385f-c22a-43e0-bf4c-06f5698ffbd9}",
    keywords: "0x8000000000000000",
    rendered_keywords: &[],
};
const SECURITY: Source = Source {
    channel: "Security",
    provider: "Microsoft-Windows-Security-Auditing",
    guid: "{54849625-5478-4994-a5ba-3e3b0328c30d}",
    keywords: "0x8020000000000000",
    rendered_keywords: &["Audit Success"],
};
const POWERSHELL: Source = Source {
    channel: "Microsoft-Windows-PowerShell/Operational",
    provider: "Microsoft-Windows-PowerShell",
    guid: "{a0c1853b-5c40-4b15-8766-3cf1c58f985a}",
    keywords: "0x0",
    rendered_keywords: &[],
};
const SERVICES: Source = Source {
    channel: "System",
    provider: "Service Control Manager",
    guid: "{555908d1-a6d7-4695-8e1e-26931d2012f4}",
    keywords: "0x8080000000000000",
    rendered_keywords: &["Classic"],
};

/// Programs people and services start: image, original name, command line, parent.
const PROGRAMS: [[&str; 4]; 14] = [
    [
        r"C:\Windows\System32\svchost.exe",
        "svchost.exe",
        r"C:\Windows\system32\svchost.exe -k netsvcs -p -s Schedule",
        r"C:\Windows\System32\services.exe",
    ],
    [
        r"C:\Windows\System32\conhost.exe",
        "CONHOST.EXE",
        r"\??\C:\Windows\system32\conhost.exe 0xffffffff -ForceV1",
        r"C:\Windows\System32\svchost.exe",
    ],
    [
        r"C:\Windows\System32\RuntimeBroker.exe",
        "RuntimeBroker.exe",
        r"C:\Windows\System32\RuntimeBroker.exe -Embedding",
        r"C:\Windows\System32\svchost.exe",
    ],
    [
        r"C:\Windows\System32\taskhostw.exe",
        "taskhostw.exe",
        "taskhostw.exe SYSTEM",
        r"C:\Windows\System32\svchost.exe",
    ],
    [
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        "chrome.exe",
        r#""C:\Program Files\Google\Chrome\Application\chrome.exe" --type=renderer --lang=en-US"#,
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    ],
    [
        r"C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE",
        "WinWord.exe",
        r#""C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE" /n "C:\Users\anna\Documents\minutes.docx""#,
        r"C:\Windows\explorer.exe",
    ],
    [
        r"C:\Program Files\Microsoft Office\root\Office16\EXCEL.EXE",
        "Excel.exe",
        r#""C:\Program Files\Microsoft Office\root\Office16\EXCEL.EXE" /dde"#,
        r"C:\Windows\explorer.exe",
    ],
    [
        r"C:\Windows\System32\wbem\WmiPrvSE.exe",
        "Wmiprvse.exe",
        r"C:\Windows\system32\wbem\wmiprvse.exe -secured -Embedding",
        r"C:\Windows\System32\svchost.exe",
    ],
    [
        r"C:\Windows\System32\SearchProtocolHost.exe",
        "SearchProtocolHost.exe",
        r#""C:\Windows\system32\SearchProtocolHost.exe" Global\UsGthrFltPipeMssGthrPipe1_ Global\UsGthrCtrlFltPipeMssGthrPipe1 1 -2147483646 "Software\Microsoft\Windows Search""#,
        r"C:\Windows\System32\SearchIndexer.exe",
    ],
    [
        r"C:\Windows\System32\notepad.exe",
        "NOTEPAD.EXE",
        r#""C:\Windows\system32\notepad.exe" C:\Users\bert\Desktop\todo.txt"#,
        r"C:\Windows\explorer.exe",
    ],
    [
        r"C:\Windows\System32\gpupdate.exe",
        "GPUpdate.exe",
        "gpupdate.exe /target:computer",
        r"C:\Windows\System32\svchost.exe",
    ],
    [r"C:\Windows\System32\ipconfig.exe", "ipconfig.exe", "ipconfig /all", r"C:\Windows\System32\cmd.exe"],
    [
        r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
        "PowerShell.EXE",
        r#"powershell.exe -ExecutionPolicy RemoteSigned -File "C:\Program Files\Inventory\collect.ps1""#,
        r"C:\Windows\System32\svchost.exe",
    ],
    [
        r"C:\Program Files\Microsoft VS Code\Code.exe",
        "electron.exe",
        r#""C:\Program Files\Microsoft VS Code\Code.exe" --type=utility"#,
        r"C:\Program Files\Microsoft VS Code\Code.exe",
    ],
];

const USERS: [&str; 8] = ["anna", "bert", "carla", "dieter", "elif", "femi", "goran", "hana"];
const SCRIPTS: [&str; 4] = [
    "Get-CimInstance Win32_OperatingSystem | Select-Object Caption, Version",
    "Get-Service | Where-Object Status -eq 'Running' | Export-Csv C:\\Inventory\\services.csv",
    "function Get-DiskReport {\r\n  Get-Volume | Where-Object DriveLetter | Sort-Object SizeRemaining\r\n}",
    "prompt",
];
const SERVICE_NAMES: [&str; 4] = [
    "Windows Update",
    "Software Protection",
    "Background Intelligent Transfer Service",
    "WMI Performance Adapter",
];

fn event(
    source: &Source,
    host: &Host,
    at_ns: u64,
    record_id: u64,
    event_id: u32,
    event_data: Data,
) -> WindowsEvent {
    WindowsEvent {
        channel: source.channel.into(),
        computer: host.name.clone(),
        provider: source.provider.into(),
        provider_guid: source.guid.into(),
        event_id,
        level: 4,
        keywords: source.keywords.into(),
        time_ns: at_ns / 100 * 100,
        record_id,
        process_id: 1200,
        thread_id: 4408,
        event_data,
        rendering: Some(Rendering {
            level: Some("Information".into()),
            opcode: Some("Info".into()),
            keywords: source.rendered_keywords.iter().map(|word| (*word).to_owned()).collect(),
            ..Rendering::default()
        }),
        ..WindowsEvent::default()
    }
}

/// Fills in what Windows renders.
fn render(mut event: WindowsEvent, task: &str, message: String) -> WindowsEvent {
    if let Some(rendering) = &mut event.rendering {
        rendering.task = Some(task.to_owned());
        rendering.message = message;
    }
    event
}

/// A Sysmon event; its message lists its data.
pub(super) fn sysmon(
    host: &Host,
    at_ns: u64,
    record_id: u64,
    event_id: u32,
    title: &str,
    fields: Data,
) -> WindowsEvent {
    let mut all = data(&[("RuleName", "-"), ("UtcTime", &utc_time(at_ns))]);
    all.extend(fields);
    let lines: Vec<String> = all.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let message = format!("{title}:\r\n{}", lines.join("\r\n"));
    let mut event = event(&SYSMON, host, at_ns, record_id, event_id, all);
    event.version = 5;
    event.task = event_id;
    event.user_sid = "S-1-5-18".into();
    render(event, title, message)
}

/// Sysmon 1.
pub(super) fn process(
    host: &Host,
    at_ns: u64,
    record_id: u64,
    program: [&str; 4],
    user: &str,
    random: &mut Random,
) -> WindowsEvent {
    let [image, original, command, parent] = program;
    let user = format!(r"CORP\{user}");
    let (guid, logon, parent_guid) = (random.guid(), random.guid(), random.guid());
    let pids = [random.between(1000, 20_000).to_string(), random.between(600, 9000).to_string()];
    let hashes = format!("MD5={:032X},SHA256={:064X}", u128::from(random.next()), u128::from(random.next()));
    let fields = data(&[
        ("ProcessGuid", &guid),
        ("ProcessId", &pids[0]),
        ("Image", image),
        ("FileVersion", "10.0.20348.1 (WinBuild.160101.0800)"),
        ("Description", original),
        ("Product", "Microsoft® Windows® Operating System"),
        ("Company", "Microsoft Corporation"),
        ("OriginalFileName", original),
        ("CommandLine", command),
        ("CurrentDirectory", r"C:\Windows\system32\"),
        ("User", &user),
        ("LogonGuid", &logon),
        ("LogonId", "0x5a3f1"),
        ("TerminalSessionId", "1"),
        ("IntegrityLevel", "Medium"),
        ("Hashes", &hashes),
        ("ParentProcessGuid", &parent_guid),
        ("ParentProcessId", &pids[1]),
        ("ParentImage", parent),
        ("ParentCommandLine", parent),
        ("ParentUser", &user),
    ]);
    sysmon(host, at_ns, record_id, 1, "Process Create", fields)
}

/// An event of the Security log.
pub(super) fn security(
    host: &Host,
    at_ns: u64,
    record_id: u64,
    event_id: u32,
    message: &str,
    fields: Data,
) -> WindowsEvent {
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("\t{name}:\t\t{value}")).collect();
    let whole = format!("{message}\r\n\r\n{}", lines.join("\r\n"));
    let mut event = event(&SECURITY, host, at_ns, record_id, event_id, fields);
    event.level = 0;
    render(event, "Audit", whole)
}

/// PowerShell 4104; ordinary blocks are Verbose.
pub(super) fn script_block(
    host: &Host,
    at_ns: u64,
    record_id: u64,
    script: &str,
    random: &mut Random,
) -> WindowsEvent {
    let id = random.guid();
    let id = id.trim_matches(['{', '}']);
    let fields = data(&[
        ("MessageNumber", "1"),
        ("MessageTotal", "1"),
        ("ScriptBlockText", script),
        ("ScriptBlockId", id),
        ("Path", ""),
    ]);
    let message =
        format!("Creating Scriptblock text (1 of 1):\r\n{script}\r\n\r\nScriptBlock ID: {id}\r\nPath: ");
    let mut event =
        render(event(&POWERSHELL, host, at_ns, record_id, 4104, fields), "Execute a Remote Command", message);
    event.level = 5;
    if let Some(rendering) = &mut event.rendering {
        rendering.level = Some("Verbose".into());
        rendering.opcode = Some("On create calls".into());
    }
    event
}

/// An event of the Service Control Manager.
pub(super) fn service(
    host: &Host,
    at_ns: u64,
    record_id: u64,
    event_id: u32,
    message: &str,
    fields: Data,
) -> WindowsEvent {
    let mut event = event(&SERVICES, host, at_ns, record_id, event_id, fields);
    event.qualifiers = 16384;
    event.event_source = "Service Control Manager".into();
    let mut event = render(event, "0", message.to_owned());
    if let Some(rendering) = &mut event.rendering {
        // The Service Control Manager names neither task nor opcode.
        (rendering.task, rendering.opcode) = (None, None);
    }
    event
}

/// An ordinary event of the host.
pub(super) fn ordinary(host: &Host, at_ns: u64, record_id: u64, random: &mut Random) -> WindowsEvent {
    let server = matches!(host.kind, Kind::Server(_));
    let user = USERS[host.number % USERS.len()];
    match random.below(100) {
        0..24 => {
            let program = *random.pick(&PROGRAMS);
            process(host, at_ns, record_id, program, user, random)
        }
        24..40 => network(host, at_ns, record_id, random),
        40..52 => file_created(host, at_ns, record_id, user, random),
        52..64 => registry_set(host, at_ns, record_id, random),
        64..70 => dns_query(host, at_ns, record_id, random),
        70..82 => logon(host, at_ns, record_id, user, server, random),
        82..90 => created_4688(host, at_ns, record_id, user, random),
        90..95 => script_block(host, at_ns, record_id, SCRIPTS[random.below(SCRIPTS.len())], random),
        _ => {
            let name = *random.pick(&SERVICE_NAMES);
            let message = format!("The {name} service entered the running state.");
            service(host, at_ns, record_id, 7036, &message, data(&[("param1", name), ("param2", "running")]))
        }
    }
}

fn network(host: &Host, at_ns: u64, record_id: u64, random: &mut Random) -> WindowsEvent {
    let ports =
        [random.between(49_152, 65_000).to_string(), random.pick(&["443", "80", "53", "445"]).to_string()];
    let addresses = [address(host), format!("198.51.100.{}", random.between(1, 250))];
    let fields = data(&[
        ("ProcessGuid", &random.guid()),
        ("ProcessId", "4120"),
        ("Image", r"C:\Program Files\Google\Chrome\Application\chrome.exe"),
        ("User", r"CORP\anna"),
        ("Protocol", "tcp"),
        ("Initiated", "true"),
        ("SourceIsIpv6", "false"),
        ("SourceIp", &addresses[0]),
        ("SourceHostname", &host.name),
        ("SourcePort", &ports[0]),
        ("SourcePortName", "-"),
        ("DestinationIsIpv6", "false"),
        ("DestinationIp", &addresses[1]),
        ("DestinationHostname", "-"),
        ("DestinationPort", &ports[1]),
        ("DestinationPortName", "https"),
    ]);
    sysmon(host, at_ns, record_id, 3, "Network connection detected", fields)
}

fn file_created(host: &Host, at_ns: u64, record_id: u64, user: &str, random: &mut Random) -> WindowsEvent {
    let target = format!(
        r"C:\Users\{user}\AppData\Local\Google\Chrome\User Data\Default\Cache\f_{:06x}",
        random.below(1 << 24)
    );
    let fields = data(&[
        ("ProcessGuid", &random.guid()),
        ("ProcessId", "4120"),
        ("Image", r"C:\Program Files\Google\Chrome\Application\chrome.exe"),
        ("TargetFilename", &target),
        ("CreationUtcTime", &utc_time(at_ns)),
        ("User", &format!(r"CORP\{user}")),
    ]);
    sysmon(host, at_ns, record_id, 11, "File created", fields)
}

fn registry_set(host: &Host, at_ns: u64, record_id: u64, random: &mut Random) -> WindowsEvent {
    let details = format!("DWORD (0x{:08x})", random.below(1 << 16));
    let fields = data(&[
        ("EventType", "SetValue"),
        ("ProcessGuid", &random.guid()),
        ("ProcessId", "1188"),
        ("Image", r"C:\Windows\System32\svchost.exe"),
        ("TargetObject", r"HKLM\System\CurrentControlSet\Services\bam\State\UserSettings\SequenceNumber"),
        ("Details", &details),
        ("User", r"NT AUTHORITY\SYSTEM"),
    ]);
    sysmon(host, at_ns, record_id, 13, "Registry value set", fields)
}

fn dns_query(host: &Host, at_ns: u64, record_id: u64, random: &mut Random) -> WindowsEvent {
    let name =
        *random.pick(&["outlook.office365.com", "update.example", "dc01.corp.example", "www.example.org"]);
    let fields = data(&[
        ("ProcessGuid", &random.guid()),
        ("ProcessId", "4120"),
        ("QueryName", name),
        ("QueryStatus", "0"),
        ("QueryResults", "::ffff:198.51.100.10;"),
        ("Image", r"C:\Program Files\Google\Chrome\Application\chrome.exe"),
        ("User", r"CORP\anna"),
    ]);
    sysmon(host, at_ns, record_id, 22, "Dns query", fields)
}

fn logon(
    host: &Host,
    at_ns: u64,
    record_id: u64,
    user: &str,
    server: bool,
    random: &mut Random,
) -> WindowsEvent {
    let failed = random.below(20) == 0;
    let fields = data(&[
        ("SubjectUserSid", "S-1-5-18"),
        ("SubjectUserName", "-"),
        ("SubjectDomainName", "-"),
        ("SubjectLogonId", "0x0"),
        ("TargetUserSid", "S-1-5-21-1004336348-1177238915-682003330-1104"),
        ("TargetUserName", user),
        ("TargetDomainName", "CORP"),
        ("LogonType", if server { "3" } else { "5" }),
        ("LogonProcessName", "Kerberos"),
        ("AuthenticationPackageName", "Kerberos"),
        ("WorkstationName", "-"),
        ("IpAddress", &format!("10.0.4.{}", random.between(2, 250))),
        ("IpPort", &random.between(49_152, 65_000).to_string()),
    ]);
    if !failed {
        return security(host, at_ns, record_id, 4624, "An account was successfully logged on.", fields);
    }
    let mut event = security(host, at_ns, record_id, 4625, "An account failed to log on.", fields);
    event.keywords = "0x8010000000000000".into();
    if let Some(rendering) = &mut event.rendering {
        rendering.keywords = vec!["Audit Failure".into()];
    }
    event
}

fn created_4688(host: &Host, at_ns: u64, record_id: u64, user: &str, random: &mut Random) -> WindowsEvent {
    let [image, _, command, parent] = *random.pick(&PROGRAMS);
    let ids = [format!("0x{:x}", random.between(1000, 20_000)), format!("0x{:x}", random.between(600, 9000))];
    let fields = data(&[
        ("SubjectUserSid", "S-1-5-21-1004336348-1177238915-682003330-1104"),
        ("SubjectUserName", user),
        ("SubjectDomainName", "CORP"),
        ("SubjectLogonId", "0x5a3f1"),
        ("NewProcessId", &ids[0]),
        ("NewProcessName", image),
        ("TokenElevationType", "%%1938"),
        ("ProcessId", &ids[1]),
        ("CommandLine", command),
        ("TargetUserSid", "S-1-0-0"),
        ("TargetUserName", "-"),
        ("TargetDomainName", "-"),
        ("TargetLogonId", "0x0"),
        ("ParentProcessName", parent),
        ("MandatoryLabel", "S-1-16-8192"),
    ]);
    security(host, at_ns, record_id, 4688, "A new process has been created.", fields)
}

fn address(host: &Host) -> String {
    format!("10.0.{}.{}", host.number / 250, host.number % 250 + 1)
}

/// Sysmon's own form of the time.
fn utc_time(at_ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(at_ns)).unwrap_or_default();
    format!("{}.{:03}", time.strftime("%Y-%m-%d %H:%M:%S"), at_ns / 1_000_000 % 1000)
}
