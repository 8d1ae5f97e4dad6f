package ssh

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMultiplexing runs commands and a forward over one connection of OpenSSH's client.
func TestMultiplexing(t *testing.T) {
	to, local := echo(t), take(t)
	w := start(t, setup{grant: fmt.Sprintf("channels: [Exec, LocalForward]\nforwards: [\"localhost:%d\"]", to), more: []string{noRemoval}})
	folder, err := os.MkdirTemp("", "mux") // a path short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	control := []string{"-o", "ControlPath=" + filepath.Join(folder, "s"), "-o", "ControlMaster=no"}
	// The master stays in the foreground, to end with the test.
	master := exec.CommandContext(t.Context(), "ssh", "-F", w.Credential("config"), "-o", "ControlPath="+filepath.Join(folder, "s"), "-M", "-N", "host")
	var said bytes.Buffer
	master.Stderr = &said
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	mux := func(args ...string) outcome {
		return w.run(t, "", "ssh", append(append([]string{}, control...), args...)...)
	}
	eventually(t, "the master to listen", func() bool {
		_, err := os.Stat(filepath.Join(folder, "s"))
		return err == nil
	})
	for command, want := range map[string]outcome{"echo one": {Stdout: "one\n"}, "echo two; exit 3": {Stdout: "two\n", Code: 3}} {
		if got := mux("host", command); got != want {
			t.Errorf("%s: got %+v", command, got)
		}
	}
	if got := mux("host", "rm x"); got.Code != 126 || !strings.Contains(got.Stderr, "CDA-2001") {
		t.Errorf("a refused command: %+v", got)
	}
	if got := mux("-O", "forward", "-L", fmt.Sprintf("127.0.0.1:%d:localhost:%d", local, to), "host"); got.Code != 0 {
		t.Errorf("a forward: %+v", got)
	}
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", local))
	if err != nil {
		t.Fatal(err)
	}
	comesBack(t, c)
	_ = c.Close()
	if got := mux("-O", "exit", "host"); got.Code != 0 {
		t.Errorf("the end: %+v", got)
	}
	_ = master.Wait()
	if n := strings.Count(w.server.Log(t), "Accepted publickey"); n != 1 {
		t.Errorf("the gate signed in %d times, want once (%s)", n, said.String())
	}
}

// script is what a program with Paramiko does: it is told the port, the login, the key, its
// certificate and a folder.
const script = `
import os, sys, time, paramiko
port, login, key, cert, folder = sys.argv[1:]
pkey = paramiko.Ed25519Key.from_private_key_file(key)
pkey.load_certificate(cert)
c = paramiko.SSHClient()
c.set_missing_host_key_policy(paramiko.AutoAddPolicy())
c.connect("127.0.0.1", int(port), login, pkey=pkey, allow_agent=False, look_for_keys=False, timeout=120, banner_timeout=120, auth_timeout=120)
i, o, e = c.exec_command("cat; echo err >&2; exit 7")
i.write("input"); i.channel.shutdown_write()
assert o.read() == b"input" and e.read() == b"err\n" and o.channel.recv_exit_status() == 7
i, o, e = c.exec_command("rm x")
assert b"CDA-2001" in e.read() and o.channel.recv_exit_status() == 126
s = c.open_sftp()
data = os.urandom(300000)
with open(folder + "/here", "wb") as f: f.write(data)
s.put(folder + "/here", folder + "/there")
s.get(folder + "/there", folder + "/back")
assert open(folder + "/back", "rb").read() == data
sh = c.invoke_shell(width=200)
def sees(text):
    got = b""
    while text not in got:
        part = sh.recv(4096)
        assert part, got
        got += part
sees(b"$ ")
sh.send("echo a''b\r")
sees(b"\r\nab\r\n")
sh.send("exit 5\r")
assert sh.recv_exit_status() == 5
c.close()
print("done")
`

// TestParamiko runs commands, copies files and types at a shell with Paramiko.
func TestParamiko(t *testing.T) {
	w := start(t, setup{grant: "channels: [Exec, SFTP, Shell]", more: []string{noRemoval}})
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-W", "ignore", "-", fmt.Sprint(w.port), w.server.Login,
		w.Credential("id_ed25519"), w.Credential("id_ed25519-cert.pub"), w.server.Dir)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "done\n" {
		t.Errorf("Paramiko: %v\n%s", err, out)
	}
}

// TestG4ShippedCode does what Ansible does with pipelining: it asks for the home folder, copies
// a file and gives an interpreter its program as input, where the rules allow what is not
// understood, and where they do not. A program in a file is a command that rules name as any.
func TestG4ShippedCode(t *testing.T) {
	const module = "import json\nprint(json.dumps({'changed': True}))\n"
	for name, tc := range map[string]struct {
		more            []string
		asInput, asFile string // the refusals
	}{
		"no rule":             {nil, "CDA-2003", ""},
		"what is unknown too": {[]string{rule("unknown", `{shell: {unknown: Any}}`, "action: Allow")}, "", ""},
		"no interpreter":      {[]string{rule("python", `{shell: {commands: ["*python3 **", "*python3"]}}`, "action: Deny")}, "CDA-2001", "CDA-2001"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{grant: "channels: [Exec, SFTP]", more: tc.more})
			home, err := os.UserHomeDir()
			if err != nil {
				t.Fatal(err)
			}
			if got := w.ssh(t, "/bin/sh -c 'echo ~ && sleep 0'"); got.Stdout != home+"\n" || got.Code != 0 {
				t.Errorf("the home folder: %+v", got)
			}
			there := filepath.Join(w.server.Dir, "module.py")
			local := filepath.Join(t.TempDir(), "module.py")
			if err := os.WriteFile(local, []byte(module), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := w.run(t, "put "+local+" "+there+"\n", "sftp", "-b", "-", "host"); got.Code != 0 {
				t.Fatalf("the copy: %+v", got)
			}
			for command, refusal := range map[string]string{"/usr/bin/python3": tc.asInput, "/usr/bin/python3 " + there: tc.asFile} {
				before := w.server.Commands(t)
				got := w.run(t, module, "ssh", "host", "/bin/sh -c '"+command+" && sleep 0'")
				switch {
				case refusal == "" && (got.Stdout != "{\"changed\": true}\n" || got.Code != 0):
					t.Errorf("%s: got %+v", command, got)
				case refusal != "" && (got.Code != 126 || got.Stdout != "" || !strings.Contains(got.Stderr, refusal) || w.server.Commands(t) != before):
					t.Errorf("%s: got %+v, want %s", command, got, refusal)
				}
			}
		})
	}
}
