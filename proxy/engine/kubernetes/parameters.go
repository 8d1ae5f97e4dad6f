package kubernetes

import (
	"net/url"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

// streamOf reads the parameters of exec or attach, or says why they are not understood.
func streamOf(subresource string, query url.Values) (*kubeapi.Stream, string) {
	s := &kubeapi.Stream{}
	flags := map[string]*bool{"stdin": &s.Stdin, "stdout": &s.Stdout, "stderr": &s.Stderr, "tty": &s.TTY}
	for name, values := range query {
		switch flag := flags[name]; {
		case flag != nil:
			is, known := truth(values[0])
			if !known {
				return nil, "a parameter of it is neither true nor false"
			}
			*flag = is
		case name == "container":
			s.Container = values[0]
		case name == "command" && subresource == "exec":
			s.Command = values
		default:
			return nil, "it has a parameter that is not known"
		}
	}
	switch {
	case subresource == "exec" && (len(s.Command) == 0 || s.Command[0] == ""):
		return nil, "it names no command"
	case slices.ContainsFunc(s.Command, func(a string) bool { return strings.ContainsRune(a, 0) }):
		return nil, "its command holds a zero byte"
	case len(s.Container) > 63 || strings.ContainsFunc(s.Container, notLabel):
		return nil, "it names no container"
	case !s.Stdin && !s.Stdout && !s.Stderr:
		return nil, "it asks for none of stdin, stdout and stderr"
	}
	// A terminal has one output.
	s.Stderr = s.Stderr && !s.TTY
	return s, ""
}

// truth reads what clients write of what the API server takes for a boolean.
func truth(v string) (is, known bool) {
	switch v {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	return false, false
}

func notLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
}

// streamQuery writes the parameters anew, so that the API server reads what was understood.
func streamQuery(s *kubeapi.Stream) url.Values {
	q := url.Values{}
	for name, is := range map[string]bool{"stdin": s.Stdin, "stdout": s.Stdout, "stderr": s.Stderr, "tty": s.TTY} {
		if is {
			q.Set(name, "true")
		}
	}
	if s.Container != "" {
		q.Set("container", s.Container)
	}
	if len(s.Command) > 0 {
		q["command"] = s.Command
	}
	return q
}
