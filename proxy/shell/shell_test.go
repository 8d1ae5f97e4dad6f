package shell

import (
	"strings"
	"testing"
)

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"ls":                           "ls",
		"ls -la /tmp":                  "ls -la /tmp",
		"/bin/ls 'a b' \"c d\" e\\ f":  "/bin/ls|a b|c d|e f",
		"ls; rm -rf /":                 "ls; rm -rf /",
		"ls && rm x || true":           "ls; rm x; true",
		"cat x | grep y | wc -l":       "cat x; grep y; wc -l",
		"! grep -q x y":                "grep -q x y",
		"(cd /tmp && ls)":              "cd /tmp; ls",
		"{ ls; }":                      "ls",
		"ls $(rm x)":                   "rm x; ls ~$(rm x)",
		"ls `rm x`":                    "rm x; ls ~$(rm x)",
		"echo \"$(id)\"":               "id; echo ~\"$(id)\"",
		"echo $HOME":                   "echo ~$HOME",
		"ls *.log":                     "ls ~*.log",
		"ls ~/x":                       "ls ~~/x",
		"cat <<E\n$(rm x)\nE":          "rm x; cat",
		"cat <<'E'\n$(rm x)\nE":        "cat",
		"if test -f a; then rm a; fi":  "test -f a; rm a",
		"while true; do sleep 1; done": "true; sleep 1",
		"for f in a b; do rm $f; done": "rm ~$f",
		"case $x in a) rm b;; esac":    "rm b",
		"sh -c 'ls; rm -rf /'":         "+sh|-c|ls; rm -rf /; ls; rm -rf /",
		"bash -ec \"rm x\"":            "+bash|-ec|rm x; rm x",
		"nice -n 5 rm x":               "+nice -n 5 rm x; rm x",
		"timeout -k 1 5 rm x":          "+timeout -k 1 5 rm x; rm x",
		"env LANG=C rm x":              "+env LANG=C rm x; rm x",
		"LC_ALL=C sort x":              "sort x",
		"time ls":                      "+time ls; ls",
		"sudo -u postgres psql":        "sudo -u postgres psql; psql",
		"sudo sh -c 'rm x'":            "sudo|sh|-c|rm x; +sh|-c|rm x; rm x",
		"su - postgres -c 'rm x'":      "su|-|postgres|-c|rm x; rm x",
		"find . -exec rm {} \\;":       "find|.|-exec|rm|{}|;; rm ~{}",
		"find . | xargs -0 rm":         "find .; xargs -0 rm; rm ~…",
		"xargs -I{} mv {} /tmp":        "xargs -I{} mv {} /tmp; mv ~{} /tmp ~…",
		"eval 'rm x'":                  "+eval|rm x; rm x",
		"trap 'rm x' EXIT":             "trap|rm x|EXIT; rm x",
		"command rm x":                 "+command rm x; rm x",
		"command -v rm":                "command -v rm",
		"exec rm x":                    "+exec rm x; rm x",
		"busybox rm x":                 "+busybox rm x; rm x",
		"[ -f x ] && rm x":             "[ -f x ]; rm x",
		"ls > /dev/null 2>&1":          "ls",
		"echo x > /etc/passwd":         "echo x>/etc/passwd",
		"cat < /etc/shadow":            "cat</etc/shadow",
		"> x":                          "+:>x",
		"x=1; echo $x":                 "+:; echo ~$x",
		"export x=1; readonly x; ls":   "export; readonly; ls",
		"set -eu -o pipefail; ls":      "set -eu -o pipefail; ls",
		"ls # rm x":                    "ls",
		"sed -n 1,5p x":                "sed -n 1,5p x",
		"rm -r\\\nf x":                 "rm -rf x",
		"echo 'it'\"'\"'s'":            "echo it's",
	} {
		t.Run(text, func(t *testing.T) {
			f := Line(text, POSIX)
			if !f.Known {
				t.Fatalf("unknown: %s", f.Unknown)
			}
			if got := shown(f); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// shown is what was found: transparent commands begin with +, words that are not literal with
// ~; words are separated by | where one of them has a space.
func shown(f *Facts) string {
	var all []string
	for _, c := range f.Commands {
		var words []string
		sep := " "
		for _, w := range c.Words {
			if w.Literal && strings.Contains(w.Text, " ") || strings.Contains(w.Text, ";") {
				sep = "|"
			}
		}
		for _, w := range c.Words {
			if !w.Literal {
				w.Text = "~" + w.Text
			}
			words = append(words, w.Text)
		}
		for _, file := range c.Files {
			words[len(words)-1] += map[bool]string{false: "<", true: ">"}[file.Write] + file.Path.Text
		}
		text := strings.Join(words, sep)
		if c.Transparent {
			text = "+" + text
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func TestLineIsUnknown(t *testing.T) {
	for _, text := range []string{
		"$x", "$(echo rm) x", "\"$@\"", "r''$x m", "~/x/y", "./*", // which program
		"eval $x", "eval \"$(cat x)\"", ". ./x", "source x", "alias ls=rm; ls", "f() { rm x; }; f", "function f { rm x; }",
		"PATH=/tmp ls", "export PATH=/tmp; ls", "LD_PRELOAD=x ls", "IFS=x; ls", "for PATH in /tmp; do ls; done", ": ${PATH:=/tmp}", "read PATH", "env PATH=/tmp ls", "env -S 'rm x'",
		"sudo BASH_ENV=x bash -c ls", "https_proxy=x curl y",
		"sh", "bash -s", "cat x | sh", "sh -c \"$x\"", "sh -c", "bash -ic ls", "bash --rcfile x -c ls", "bash -O extglob -c ls", "echo rm x | xargs -I X sh -c X", "xargs -I % rm %",
		"find . -exec sh -c 'rm {}' \\;", "find . -exec rm {}", "xargs sh -c", "xargs env", "xargs sudo", "xargs nice", "sudo -i", "sudo su", "sudo", "su - root", "chroot /x",
		"ls <(rm x)", "[[ -f x ]]", "(( x = 1 ))", "echo $((x))", "echo $((a[$(id)]))", "ls |& rm", "ls &> x", "ls >& x", "cat <<< x", "echo ${x/y/z}", "echo ${!x}", "echo ${x[0]}",
		"echo $'a\\'b'", "echo $\"x\"", "select x in a; do rm x; done", "for ((;;)); do ls; done", "coproc ls", "x+=1", "a[0]=1", "a=(1 2)", "case x in a) ls;& b) rm x;; esac",
		"ls # \\\nrm -rf x", "exec {fd}> x", "echo x >&10", "echo x 10>y", "set -k; ls PATH=/tmp", "set -o posix", "declare x=1", "local x=1", "typeset x", "let x=1", "enable -n test", "hash -p /tmp/x ls", "printf -v PATH x", "test -v 'a[$(id)]'",
		"unset 'a[$(id)]'", "mapfile -C rm -c 1", "shopt -s expand_aliases", "ls 'x", "ls )", "if", "ls;;", "ls\x00x", "ls\rx", "ls \xff", "ls\u00a0x", "nice -z ls", "timeout --x 5 ls", "script x", "doas",
		"sudo $x ls", "nice $x", "env $x", "sh $x", "trap $x EXIT", "jobs -x rm x",
		strings.Repeat("(", 40) + "ls" + strings.Repeat(")", 40), strings.Repeat("ls;", 300), strings.Repeat("x", 70<<10), strings.Repeat("sh -c '", 30) + strings.Repeat("'", 30),
	} {
		t.Run(text[:min(len(text), 40)], func(t *testing.T) {
			if f := Line(text, POSIX); f.Known || f.Unknown == "" {
				t.Errorf("%q is known: %s", text, shown(f))
			}
		})
	}
}

func TestOpaque(t *testing.T) {
	for text, opaque := range map[string]bool{
		"python3 -c 'import os'": true, "python3": true, "python3 -": true, "python3 x.py -c y": false, "python3 -m http.server": false, "python3.11 -c x": true, "python3 -Bc x": true, "python3 $x": true,
		"perl -e x": true, "perl -ne x": true, "perl x.pl": false, "perl -M/tmp/x y": true, "node -e x": true, "node x.js": false, "php -r x": true, "ruby -e x": true,
		"awk '{system(\"rm\")}'": true, "sed -n 1p x": false, "sed s/a/b/ x": false, "sed -i s/a/b/g x": false, "sed 's/a/b/e' x": true, "sed '1e rm x' y": true, "sed 'w x' y": true,
		"sed -f x y": true, "sed 's/a/b/;e rm x' y": true, "sed 's/a/b/\ne rm' x": true, "sed 's/a\\/b/e/e' x": true, "sed $x y": true, "sed 1p $x": true,
		"tar cf - x": false, "tar xf x --to-command=rm": true, "tar cf x --checkpoint=1 --checkpoint-action=exec=rm": true, "find $x": true, "find . -name x": false, "zsh -c 'rm x'": true,
		"tar cf - --checkpoint=1 --checkpoint-a=exec=rm x": true, "tar xf - --to-com=rm": true, "tar cf - --use-c rm x": true, "tar cIf rm - x": true, "tar -cIrm -f - x": true, "tar -vcFf rm - x": true,
		"tar -xmf - -C /tmp": false, "tar --no-same-permissions --no-same-owner -xmf - -C /tmp": false, "tar cf - /var/log/*.log": false, "tar cf - /var/log/Inbox": false, "tar cf - --exclude=x y": false,
		"tar cf - $x": true, "tar cf - *": true, "tar xf x \"--to-command=$y\"": true, "tar cf - /x$y": true, "tar cf - \"$x\"": true, "tar cf - -C -- $x": true, "sort $x": true, "sort x*": false,
		"sort --compress-prog=rm x": true, "sort -k2 --reverse x": false, "split --filt=rm x": true, "split -l 5 x": false, "rsync -ae rm x y:": true, "rsync -av x y": false, "apt-get -yo x=y install z": true, "apt-get -y install z": false,
		"git log -Sfunc": false, "git commit -am c": false, "zip -rTT rm x y": true, "zip -rT x y": false, "nmap -script x y": true, "openssl --engine x": true,
		"ssh h rm x": true, "vi x": true, "cat x": false, "rm -rf /": false, "systemctl restart x": false, "git -c core.pager=x log": true, "git log": false,
	} {
		t.Run(text, func(t *testing.T) {
			f := Line(text, POSIX)
			if !f.Known || len(f.Commands) != 1 {
				t.Fatalf("%+v", f)
			}
			if got := f.Commands[0].Opaque != ""; got != opaque {
				t.Errorf("opaque %t: %s", got, f.Commands[0].Opaque)
			}
		})
	}
}

func TestLoginShellsDiffer(t *testing.T) {
	for _, text := range []string{`echo 'a\'' ; rm x ; echo '`, "echo !rm", "^a^b", "repeat 2 rm x", "noglob rm x", "- rm x", "and rm x", "=rm x", "=ls", `echo "\a"`, `r\m x`, "{} x"} {
		if f := Line(text, Login); f.Known {
			t.Errorf("%q is known: %s", text, shown(f))
		}
	}
	for _, text := range []string{"ls -la 'a b'", "cat x | grep \"y z\" && echo ok", "scp -t /tmp", "rsync --server -e.LsfxCIvu . /tmp", "sh -c 'grep \"a\\.b\" x'", `grep 'a.b' x`} {
		if f := Line(text, Login); !f.Known && !strings.Contains(text, `\`) {
			t.Errorf("%q: %s", text, f.Unknown)
		}
	}
}

func TestArgv(t *testing.T) {
	for name, c := range map[string]struct {
		argv []string
		want string
	}{
		"words are not split":   {[]string{"ls", "a; rm x", "*", "$y", "~"}, "ls|a; rm x|*|$y|~"},
		"a shell":               {[]string{"sh", "-c", "ls; rm x"}, "+sh|-c|ls; rm x; ls; rm x"},
		"a shell behind others": {[]string{"/usr/bin/env", "LANG=C", "/bin/bash", "-c", "rm x"}, "+/usr/bin/env|LANG=C|/bin/bash|-c|rm x; +/bin/bash|-c|rm x; rm x"},
	} {
		t.Run(name, func(t *testing.T) {
			f := Argv(c.argv)
			if got := shown(f); !f.Known || got != c.want {
				t.Errorf("%s\ngot  %s\nwant %s", f.Unknown, got, c.want)
			}
		})
	}
	for _, argv := range [][]string{nil, {}, {""}, {"sh"}, {"sh", "-c"}, {"sh", "-c", "$x"}, {"bash", "-i"}} {
		if f := Argv(argv); f.Known {
			t.Errorf("%q is known", argv)
		}
	}
	if (&Facts{}).Known {
		t.Error("zero facts are known")
	}
}

// Texts within texts take time in proportion to their depth: this does not end otherwise.
func TestTextsWithinTexts(t *testing.T) {
	f := Line(strings.Repeat("eval ", maxDepth-1)+"ls", POSIX)
	if last := len(f.Commands) - 1; !f.Known || f.Commands[last].Words[0].Text != "ls" {
		t.Errorf("%+v", f)
	}
}
