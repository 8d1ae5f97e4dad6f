package access

import (
	"bytes"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func TestExportAndReplayRefuse(t *testing.T) {
	cases := map[string]struct{ args, want string }{
		"format":               {"export s --format pdf", "choose asciicast, jsonl, ocsf or ecs"},
		"a terminal of ocsf":   {"export s --format ocsf --terminal 1", "are for --format asciicast"},
		"backwards":            {"replay s --speed -1", "--speed -1: choose"},
		"not a number":         {"replay s --speed NaN", "choose 0.01"},
		"before the beginning": {"replay s --at -1s", "not negative"},
		"played as json":       {"replay s --play -o json", "neither --verify nor -o"},
		"no name of a session": {"export ../s", "is not the name of a session"},
		"no folder":            {"export s --dir /nonexistent", "--dir names the folder"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			code := Main(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut}, strings.Fields(c.args))
			if code != exitError || !strings.Contains(errOut.String(), c.want) || out.Len() > 0 {
				t.Errorf("exit %d: %s%s", code, &out, &errOut)
			}
		})
	}
}
