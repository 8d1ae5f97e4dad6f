package sftp

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

const (
	maxLinks = 16  // symbolic links that a path may lead through
	maxNames = 128 // names in a path
)

// place is where a path leads.
type place struct {
	path   string
	exists bool
	link   bool // it is a symbolic link
	// directory: it is one. Only for what was followed.
	directory bool
}

// call is a question of the relay's own to the server.
type call struct {
	typ  byte
	body []byte
	done chan struct{}
}

// code returns the code of a status, or codeOK for what is none.
func (c *call) code() uint32 {
	if c.typ != typeStatus {
		return codeOK
	}
	return (&cursor{rest: c.body}).uint32()
}

// ask sends questions in one go and waits for all answers. Each encodes itself with a number.
func (r *relay) ask(ctx context.Context, questions ...func(to packet, id uint32) packet) ([]*call, error) {
	calls, all := make([]*call, len(questions)), packet(nil)
	for i, q := range questions {
		calls[i] = &call{done: make(chan struct{})}
		id, err := r.reserve(ctx, r.ownNumbers, pending{call: calls[i]})
		if err != nil {
			return nil, err
		}
		began := len(all)
		all = q(all, id).finish(began)
	}
	if err := r.toServer.write(all); err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	for _, c := range calls {
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return calls, nil
}

func about(typ byte, path string) func(packet, uint32) packet {
	return func(to packet, id uint32) packet { return begin(to, typ, id).text(path) }
}

func expand(path string) func(packet, uint32) packet {
	return func(to packet, id uint32) packet { return begin(to, typeExtended, id).text(extExpandPath).text(path) }
}

// nameOf reads the one name that answers a REALPATH or READLINK.
func nameOf(c *call) (string, *status, error) {
	if code := c.code(); code != codeOK {
		return "", &status{code, reason(code)}, nil
	}
	names := cursor{rest: c.body}
	if c.typ != typeName || names.uint32() != 1 {
		return "", nil, errAnswer
	}
	text := string(names.bytes())
	names.bytes()
	if names.attributes(); names.bad {
		return "", nil, errAnswer
	}
	if s := unusable(text); s != nil || text == "" {
		return "", &status{codeFailure, "the target's answer is no path"}, nil
	}
	return text, nil, nil
}

// canonical asks the server for the absolute form of a path.
func (r *relay) canonical(ctx context.Context, question func(packet, uint32) packet) (string, *status, error) {
	calls, err := r.ask(ctx, question)
	if err != nil {
		return "", nil, err
	}
	absolute, s, err := nameOf(calls[0])
	if s == nil && err == nil && (!strings.HasPrefix(absolute, "/") || path.Clean(absolute) != absolute) {
		return "", &status{codeFailure, "the target's answer is no absolute path"}, nil
	}
	return absolute, s, err
}

// parts cuts the last name off a path. It is empty for one that names a directory by other means.
func parts(p string) (directory, last string) {
	trimmed := strings.TrimRight(p, "/")
	if trimmed == "" {
		return p, ""
	}
	i := strings.LastIndexByte(trimmed, '/')
	if last = trimmed[i+1:]; last == "." || last == ".." {
		return p, ""
	}
	if i < 0 {
		return ".", last
	}
	return trimmed[:i+1], last
}

// resolve finds the real path. Servers differ in whether REALPATH resolves links, and what is not
// there, so it is only asked for directories, and every name of its answer is looked at.
func (r *relay) resolve(ctx context.Context, p string, how lookup) (place, *status, error) {
	for range maxLinks {
		if s := unusable(p); s != nil {
			return place{}, s, nil
		}
		directory, last := parts(p)
		switch {
		case p == "":
			return place{}, &status{codeNoSuchFile, "an empty path"}, nil
		case last == "" && how == name:
			return place{}, &status{codeFailure, "the path ends in no name"}, nil
		}
		absolute, s, err := r.canonical(ctx, about(typeRealpath, directory))
		if s != nil || err != nil {
			return place{}, s, err
		}
		if last != "" {
			absolute = path.Join(absolute, last)
		}
		found, next, s, err := r.look(ctx, absolute, last != "", how)
		if s != nil || err != nil || next == "" {
			return found, s, err
		}
		p = next
	}
	return place{}, &status{codeFailure, "too many symbolic links"}, nil
}

// look looks at every name of an absolute path. If one of them is a symbolic link that is to be
// followed it returns the path that this makes.
func (r *relay) look(ctx context.Context, absolute string, named bool, how lookup) (found place, next string, s *status, err error) {
	found = place{path: absolute, exists: true, directory: absolute == "/"}
	if absolute == "/" {
		return found, "", nil, nil
	}
	ends := make([]int, 0, 16)
	for i := 1; i <= len(absolute); i++ {
		if i == len(absolute) || absolute[i] == '/' {
			ends = append(ends, i)
		}
	}
	if len(absolute) > maxPath || len(ends) > maxNames {
		return place{}, "", &status{codeFailure, fmt.Sprintf("a path of more than %d bytes or %d names", maxPath, maxNames)}, nil
	}
	questions := make([]func(packet, uint32) packet, len(ends))
	for i, end := range ends {
		questions[i] = about(typeLstat, absolute[:end])
	}
	calls, err := r.ask(ctx, questions...)
	if err != nil {
		return place{}, "", nil, err
	}
	for i, c := range calls {
		last := named && i == len(calls)-1
		switch code := c.code(); {
		case code == codeNoSuchFile && last:
			found.exists, found.directory = false, false
			return found, "", nil, nil
		case code != codeOK:
			return place{}, "", &status{code, reason(code)}, nil
		case c.typ != typeAttrs:
			return place{}, "", nil, errAnswer
		}
		attributes := cursor{rest: c.body}
		a, _ := attributes.attributes()
		if attributes.bad {
			return place{}, "", nil, errAnswer
		}
		if !a.HasMode {
			return place{}, "", &status{codePermissionDenied, "the target does not tell symbolic links"}, nil
		}
		if a.Mode&modeType != modeSymlink {
			found.directory = a.Mode&modeType == modeDirectory
			continue
		}
		if last && how != follow {
			found.link = true
			return found, "", nil, nil
		}
		next, s, err := r.followed(ctx, absolute[:ends[i]], absolute[ends[i]:])
		return place{}, next, s, err
	}
	return found, "", nil, nil
}

// followed is the path of what lies behind a symbolic link, whose directory is real.
func (r *relay) followed(ctx context.Context, link, behind string) (string, *status, error) {
	calls, err := r.ask(ctx, about(typeReadlink, link))
	if err != nil {
		return "", nil, err
	}
	to, s, err := nameOf(calls[0])
	if s != nil || err != nil {
		return "", s, err
	}
	return beside(link, to) + behind, nil, nil
}

// beside is the path of what a link holds.
func beside(link, holds string) string {
	if strings.HasPrefix(holds, "/") {
		return holds
	}
	return strings.TrimRight(path.Dir(link), "/") + "/" + holds
}

// leads finds where a symbolic link to be made would lead. What is not there yet is taken as it is
// written, as long as it is nothing but names.
func (r *relay) leads(ctx context.Context, link, holds string) (string, *status, error) {
	if holds == "" {
		return "", &status{codeNoSuchFile, "an empty link"}, nil
	}
	p, behind := beside(link, holds), ""
	for range maxNames {
		found, s, err := r.resolve(ctx, p, follow)
		if err != nil {
			return "", nil, err
		}
		if s == nil {
			return path.Join(found.path, behind), nil, nil
		}
		directory, last := parts(p)
		if s.code != codeNoSuchFile || last == "" {
			return "", s, nil
		}
		p, behind = directory, path.Join(last, behind)
	}
	return "", &status{codeFailure, "a path of too many names"}, nil
}

// locate sets the real paths of a request.
func (r *relay) locate(ctx context.Context, q *request) (*status, error) {
	if q.form.first == none {
		return nil, nil
	}
	if q.form.first == asked {
		question := expand(q.op.Asked)
		if q.typ == typeRealpath {
			question = about(typeRealpath, q.op.Asked)
		}
		absolute, s, err := r.canonical(ctx, question)
		q.op.Path = absolute
		return s, err
	}
	how := q.form.first
	if how == link && strings.HasSuffix(q.op.Asked, "/") {
		how = follow
	}
	found, s, err := r.resolve(ctx, q.op.Asked, how)
	if s != nil || err != nil {
		return s, err
	}
	q.op.Path = found.path
	switch {
	case q.form.action == files.HardLink && found.link:
		// Whether the link or what it leads to gets the name differs between systems.
		return &status{codePermissionDenied, "hard links to symbolic links are not made"}, nil
	case q.form.action == files.Open && how == name && found.exists:
		return &status{codeFailure, "the file exists"}, nil
	}
	if q.form.second == name {
		found, s, err = r.resolve(ctx, q.op.AskedTo, name)
		q.op.To = found.path
	}
	if q.form.second == content {
		q.op.To, s, err = r.leads(ctx, q.op.Path, q.op.AskedTo)
	}
	return s, err
}
