package export

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// object is a JSON object.
type object = map[string]any

// put sets a field that has a value.
func put(o object, name, value string) {
	if value != "" {
		o[name] = value
	}
}

// class is an event class of OCSF 1.2.0 with one activity of it.
type class struct {
	category      int
	categoryName  string
	uid           int
	name          string
	activity      int
	activityTitle string
}

func (c class) of(activity int, title string) class {
	c.activity, c.activityTitle = activity, title
	return c
}

var (
	datastore = class{category: 6, categoryName: "Application Activity", uid: 6005, name: "Datastore Activity"}
	api       = class{category: 6, categoryName: "Application Activity", uid: 6003, name: "API Activity"}
	process   = class{category: 1, categoryName: "System Activity", uid: 1007, name: "Process Activity"}
	secure    = class{category: 4, categoryName: "Network Activity", uid: 4007, name: "SSH Activity"}
)

// classOf chooses the class and the activity of an act.
func classOf(a *act) class {
	begins, ends := a.kind == actConnect, a.kind == actDisconnect
	switch a.engine() {
	case "ssh":
		switch {
		case begins:
			return secure.of(1, "Open")
		case ends:
			return secure.of(2, "Close")
		}
		return process.of(1, "Launch")
	case "kubernetes":
		switch {
		case begins:
			return api.of(99, "Connect")
		case ends:
			return api.of(99, "Disconnect")
		}
		return api.of(verb(a.text()))
	}
	switch {
	case begins:
		return datastore.of(3, "Connect")
	case ends:
		return datastore.of(99, "Disconnect")
	}
	return datastore.of(4, "Query")
}

// verb is the activity of a request to a Kubernetes API.
func verb(text string) (int, string) {
	method, path, _ := strings.Cut(text, " ")
	path, _, _ = strings.Cut(path, "?")
	switch {
	case strings.HasSuffix(path, "/exec") || strings.HasSuffix(path, "/attach") || strings.HasSuffix(path, "/portforward"), method == "$":
		return 99, "Execute"
	case method == "POST":
		return 1, "Create"
	case method == "GET" || method == "HEAD":
		return 2, "Read"
	case method == "PUT" || method == "PATCH":
		return 3, "Update"
	case method == "DELETE":
		return 4, "Delete"
	}
	return 99, "Other"
}

// text of a command that was decided on.
func (a *act) text() string {
	switch {
	case a.command != nil:
		return a.command.Text
	case a.held != nil:
		return a.held.Text
	}
	return ""
}

// ocsf makes an event of OCSF 1.2.0 with the profile security_control.
func ocsf(a *act) object {
	c := classOf(a)
	action, disposition := decided(a)
	status, statusName := statusOf(a)
	severity, severityName := 1, "Informational"
	if action == 2 {
		severity, severityName = 3, "Medium"
	}
	o := object{
		"category_uid": c.category, "category_name": c.categoryName, "class_uid": c.uid, "class_name": c.name,
		"activity_id": c.activity, "activity_name": c.activityTitle,
		"type_uid": c.uid*100 + c.activity, "type_name": c.name + ": " + c.activityTitle,
		"time": a.at.UnixMilli(), "severity_id": severity, "severity": severityName,
		"status_id": status, "status": statusName,
		"action_id": action, "action": map[int]string{0: "Unknown", 1: "Allowed", 2: "Denied"}[action], "disposition_id": disposition,
		"metadata": object{
			"version": "1.2.0", "profiles": []string{"security_control"}, "log_name": "recording",
			"product":         object{"name": "Cardea", "vendor_name": "Cardea"},
			"correlation_uid": a.session.Session, "uid": a.session.Session + "/" + strconv.FormatUint(a.sequence, 10), "sequence": a.sequence,
		},
		"actor":        object{"user": object{"name": a.session.Subject}, "session": object{"uid": a.session.Session, "is_remote": true}},
		"src_endpoint": source(a), "dst_endpoint": object{"name": a.session.Target, "uid": a.session.TargetUID},
		"unmapped": unmapped(a),
	}
	put(o, "message", message(a))
	if a.outcome != nil {
		put(o, "status_code", a.outcome.SQLState)
		put(o, "status_detail", a.outcome.Error)
		o["duration"] = a.ended.Sub(a.at).Milliseconds()
		o["end_time"] = a.ended.UnixMilli()
	} else if a.command != nil {
		put(o, "status_code", a.command.Code)
		put(o, "status_detail", a.command.Message)
	}
	if a.command != nil && a.command.Rule != "" {
		o["authorizations"] = []object{{"decision": a.command.Decision, "policy": object{"name": a.command.Rule}}}
	}
	details(a, c, o)
	return o
}

// details are what a class has of its own.
func details(a *act, c class, o object) {
	switch c.uid {
	case datastore.uid:
		database := object{"type_id": 1, "type": "Relational", "name": a.session.Target}
		if a.connected != nil {
			put(database, "name", a.connected.Database)
		}
		o["database"], o["type_id"] = database, 1
		if text := a.text(); text != "" {
			o["query_info"] = object{"query_string": text}
		}
	case secure.uid:
		o["auth_type_id"], o["auth_type"] = 1, "Certificate Based"
	case api.uid:
		// The class has no such profile in this version: status and unmapped say what was decided.
		for _, name := range []string{"action_id", "action", "disposition_id", "authorizations"} {
			delete(o, name)
		}
		if metadata, ok := o["metadata"].(object); ok {
			delete(metadata, "profiles")
		}
		operation := a.text()
		if operation == "" {
			operation = c.activityTitle
		}
		o["api"] = object{"operation": operation, "service": object{"name": "kubernetes"}}
	case process.uid:
		id := a.session.Session
		if a.command != nil {
			id = fmt.Sprintf("%s#%d", id, a.command.ID)
		}
		o["process"] = object{"cmd_line": strings.TrimPrefix(a.text(), "$ "), "uid": id}
		o["device"] = object{"type_id": 1, "type": "Server", "hostname": a.session.Target}
		delete(o, "src_endpoint")
		delete(o, "dst_endpoint")
	}
}

// source is where a client connected from.
func source(a *act) object {
	o := object{"ip": a.session.Client}
	if a.connected == nil {
		return o
	}
	if host, port, err := net.SplitHostPort(a.connected.Client); err == nil {
		o["ip"] = host
		if n, err := strconv.Atoi(port); err == nil {
			o["port"] = n
		}
	}
	return o
}

// decided returns the action and the disposition.
func decided(a *act) (action, disposition int) {
	switch {
	case a.kind == actHeld:
		return 0, 14 // delayed
	case a.command == nil:
		return 1, 1
	case a.command.Decision == "Approved":
		return 1, 8
	case a.command.Decision == "Allowed" || a.command.Decision == "Prepared":
		return 1, 1
	}
	return 2, 2
}

// statusOf returns what became of an act.
func statusOf(a *act) (int, string) {
	switch {
	case a.kind == actConnect || a.kind == actDisconnect:
		return 1, "Success"
	case a.command != nil && a.command.Decision == "Denied":
		return 2, "Failure"
	case a.outcome == nil || a.outcome.Unknown:
		return 0, "Unknown"
	case a.outcome.Error != "" || a.outcome.SQLState != "":
		return 2, "Failure"
	}
	return 1, "Success"
}

// message is a sentence for a person.
func message(a *act) string {
	switch a.kind {
	case actConnect:
		return fmt.Sprintf("%s connected to %s", a.session.Subject, a.session.Target)
	case actDisconnect:
		return fmt.Sprintf("%s was disconnected from %s: %s", a.session.Subject, a.session.Target, a.reason)
	case actHeld:
		return fmt.Sprintf("a command is held by %s for ApprovalRequest %s", a.held.Rule, a.held.Request)
	case actCommand:
		return fmt.Sprintf("a command was %s", strings.ToLower(a.command.Decision))
	}
	return ""
}

// unmapped is what neither schema has a place for.
func unmapped(a *act) object {
	s := a.session
	o := object{"verified": a.verified}
	for name, value := range map[string]string{"client": s.Client, "namespace": s.Namespace, "grant": s.Grant, "reason": s.Reason, "proxy": s.Proxy} {
		put(o, name, value)
	}
	if a.connection > 0 {
		o["connection"] = a.connection
	}
	if a.connected != nil {
		put(o, "engine", a.connected.Engine)
		put(o, "credential", a.connected.Credential)
		put(o, "application", a.connected.Application)
	}
	if c := a.command; c != nil {
		o["command"], o["decision"] = c.ID, c.Decision
		put(o, "digest", c.Digest)
		put(o, "rule", c.Rule)
		put(o, "request", c.Request)
		if len(c.Approvers) > 0 {
			o["approvers"] = c.Approvers
		}
		if len(c.Audit) > 0 {
			o["audit"] = c.Audit
		}
		if len(c.Parameters) > 0 {
			o["parameters"] = c.Parameters
		}
	}
	if h := a.held; h != nil {
		o["command"] = h.ID
		put(o, "request", h.Request)
		put(o, "rule", h.Rule)
	}
	if r := a.outcome; r != nil {
		put(o, "tag", r.Tag)
		o["rows"], o["bytes"] = r.RowCount, r.ByteCount
		if r.Detected > 0 {
			o["detected"] = r.Detected
		}
	}
	return o
}
