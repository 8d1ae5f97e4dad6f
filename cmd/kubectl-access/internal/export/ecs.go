package export

import (
	"strconv"
	"strings"
	"time"
)

// ecs makes a document of ECS 8.17. What the schema has no field for is under cardea.
func ecs(a *act) object {
	event := object{
		"kind": "event", "dataset": "cardea.recording", "module": "cardea", "provider": "cardea",
		"category": category(a), "type": types(a), "outcome": outcome(a), "action": action(a),
		"id": a.session.Session + "/" + strconv.FormatUint(a.sequence, 10), "sequence": a.sequence,
	}
	doc := object{
		"@timestamp": a.at.UTC().Format(time.RFC3339Nano),
		"ecs":        object{"version": "8.17.0"},
		"event":      event,
		"user":       object{"name": a.session.Subject},
		"source":     source(a),
		"service":    object{"name": a.session.Target},
		"observer":   object{"vendor": "Cardea", "product": "Cardea", "type": "gateway", "name": a.session.Proxy},
		"cardea":     under(a),
	}
	related := object{"user": []string{a.session.Subject}, "ip": []string{a.session.Client}}
	doc["related"] = related
	put(doc, "message", message(a))
	put(event, "reason", a.reason)
	if a.outcome != nil {
		event["start"], event["end"] = a.at.UTC().Format(time.RFC3339Nano), a.ended.UTC().Format(time.RFC3339Nano)
		event["duration"] = a.ended.Sub(a.at).Nanoseconds()
		if a.outcome.Error != "" {
			failure := object{"message": a.outcome.Error}
			put(failure, "code", a.outcome.SQLState)
			doc["error"] = failure
		}
	}
	if c := a.command; c != nil {
		put(event, "code", c.Code)
		put(event, "reason", c.Message)
		if c.Rule != "" {
			doc["rule"] = object{"name": c.Rule}
		}
	}
	if a.held != nil {
		doc["rule"] = object{"name": a.held.Rule}
	}
	if text := a.text(); text != "" && a.engine() == "ssh" {
		doc["process"] = object{"command_line": strings.TrimPrefix(text, "$ ")}
	}
	if a.engine() == "kubernetes" {
		doc["orchestrator"] = object{"type": "kubernetes"}
	}
	return doc
}

// under is what the schema has no field for.
func under(a *act) object {
	o := unmapped(a)
	o["session"] = a.session.Session
	o["target"] = a.session.Target
	if text := a.text(); text != "" {
		o["text"] = text
	}
	if a.connected != nil {
		put(o, "database", a.connected.Database)
	}
	return o
}

// category is event.category: everything passes a gate, so everything is of the network too.
func category(a *act) []string {
	if a.kind == actConnect || a.kind == actDisconnect {
		return []string{"session", "network"}
	}
	switch a.engine() {
	case "ssh":
		return []string{"process", "network"}
	case "kubernetes":
		return []string{"api", "network"}
	}
	return []string{"database", "network"}
}

// types is event.type, of those that the categories expect.
func types(a *act) []string {
	allowed, what := "allowed", "access"
	switch {
	case a.kind == actConnect:
		return []string{"start", "connection"}
	case a.kind == actDisconnect:
		return []string{"end", "connection"}
	case a.kind == actHeld:
		return []string{"info"}
	case a.command.Decision == "Denied":
		allowed = "denied"
	case a.engine() == "ssh":
		what = "start"
	}
	return []string{what, allowed}
}

func outcome(a *act) string {
	switch status, _ := statusOf(a); status {
	case 1:
		return "success"
	case 2:
		return "failure"
	}
	return "unknown"
}

// action is event.action.
func action(a *act) string {
	switch a.kind {
	case actConnect:
		return "connected"
	case actDisconnect:
		return "disconnected"
	case actHeld:
		return "command-held"
	case actCommand:
		return "command-" + strings.ToLower(a.command.Decision)
	}
	return ""
}
