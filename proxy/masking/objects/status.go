package objects

import (
	"fmt"
	"slices"
	"strings"
)

// telling are the reasons of a Status whose message is of the request and not of an object.
var telling = []string{
	"NotFound", "AlreadyExists", "Conflict", "Expired", "Gone", "Timeout", "ServerTimeout", "TooManyRequests", "Unauthorized",
	"MethodNotAllowed", "NotAcceptable", "UnsupportedMediaType", "RequestEntityTooLarge",
}

// status keeps of a Status what cannot quote a value.
func (a *Answer) status(o map[string]any) {
	reason, _ := o["reason"].(string)
	message, _ := o["message"].(string)
	tells := slices.Contains(telling, reason) || !a.writes && (reason == "BadRequest" || reason == "Forbidden") ||
		reason == "Forbidden" && strings.Contains(message, fmt.Sprintf(" is forbidden: User %q cannot ", a.user))
	out := map[string]any{"kind": "Status", "apiVersion": "v1"}
	for _, name := range []string{"metadata", "status", "reason", "code"} {
		if v, ok := o[name]; ok {
			out[name] = v
		}
	}
	details, _ := o["details"].(map[string]any)
	kept, fields := detailsOf(details, tells)
	if kept != nil {
		out["details"] = kept
	}
	switch {
	case tells:
		out["message"] = message
	case o["status"] == "Failure":
		out["message"] = "the API server refused the request; its words are masked, for they may hold values" + fields
	}
	clear(o)
	for name, v := range out {
		o[name] = v
	}
}

// detailsOf returns what is kept of a Status's details, and a sentence that names the fields
// of which they speak.
func detailsOf(details map[string]any, tells bool) (kept map[string]any, sentence string) {
	if details == nil {
		return nil, ""
	}
	kept = map[string]any{}
	for _, name := range []string{"name", "group", "kind", "uid", "retryAfterSeconds"} {
		if v, ok := details[name]; ok {
			kept[name] = v
		}
	}
	list, _ := details["causes"].([]any)
	var causes []any
	var fields []string
	for _, c := range list {
		cause, _ := c.(map[string]any)
		out := map[string]any{}
		for _, name := range []string{"reason", "field"} {
			if v, ok := cause[name].(string); ok {
				out[name] = v
			}
		}
		if v, ok := cause["message"].(string); ok && tells {
			out["message"] = v
		}
		if field, ok := out["field"].(string); ok && field != "" && !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
		causes = append(causes, out)
	}
	if causes != nil {
		kept["causes"] = causes
	}
	if len(fields) > 0 {
		sentence = "; it is about " + strings.Join(fields, ", ")
	}
	return kept, sentence
}
