package access

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/explain"
)

// printReport prints a report for people: the outcome first, then what led to it.
func (p *plugin) printReport(r *explain.Report) error {
	s := screenOf(p.Out)
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", name, Safe(value, false))
		}
	}
	b.WriteString(s.paint(bold, fmt.Sprintf("%-11s ", "Outcome")) + s.paint(outcomeColor(r.Outcome), string(r.Outcome)) + "\n")
	line("Rule", r.Rule)
	if c := r.Client; c != nil {
		line("Client", c.Code+": "+c.Message)
		line("Hint", c.Hint)
	}
	if a := r.Approval; a != nil {
		line("Approval", fmt.Sprintf("%d of %s within %s; meanwhile %s, in a transaction %s", a.Required, strings.Join(a.Approvers, ", "), a.Timeout, a.WhilePending, a.InTransaction))
	}
	line("Audit", strings.Join(r.Audit, ", "))
	line("Target", r.Target)
	line("Grant", r.Grant)
	line("Access", r.Access)
	line("Database", r.Database)
	line("Namespace", r.Namespace)
	line("Login", r.Login)
	line("Unknown", r.Unknown)
	if m := r.Masks; m.State != "" {
		line("Masks", strings.TrimSuffix(string(m.State)+": "+m.Message, ": "))
	}
	if _, err := p.Out.Write([]byte(b.String())); err != nil {
		return err
	}
	for _, t := range tables(r) {
		if len(t.rows) == 0 {
			continue
		}
		if _, err := fmt.Fprintln(p.Out); err != nil {
			return err
		}
		if err := table(p.Out, s, t.header, t.rows); err != nil {
			return err
		}
	}
	return nil
}

func outcomeColor(o explain.Outcome) string {
	switch o {
	case explain.Allowed:
		return green
	case explain.Denied:
		return red
	default:
		return yellow
	}
}

// section is one table of a report.
type section struct {
	header []string
	rows   [][]string
}

func tables(r *explain.Report) []section {
	statements := section{header: []string{"STATEMENT", "GROUP", "OBJECT", "WITHIN-ACCESS", "WRITES"}}
	for _, n := range r.Statements {
		writes := ""
		if n.Unfiltered {
			writes = "unfiltered: there is no condition, or one that holds for every row"
		}
		statements.rows = append(statements.rows, []string{n.Kind, n.Group, n.Object, yesNo(n.Within), writes})
	}
	uses := section{header: []string{"USES", "NAME", "HOW"}}
	for _, x := range r.Relations {
		how := "read"
		if x.Write {
			how = "written"
		}
		uses.rows = append(uses.rows, []string{"relation", relationName(x), how})
	}
	for _, f := range r.Functions {
		uses.rows = append(uses.rows, []string{"function", f, "called"})
	}
	for _, a := range r.Attributes {
		uses.rows = append(uses.rows, []string{"attribute", a, "column, or function of one row"})
	}
	for _, f := range r.Features {
		how := "no baseline rule"
		switch {
		case f.Disabled:
			how = f.Rule + ", disabled for the Target"
		case f.Rule != "":
			how = f.Rule
		}
		uses.rows = append(uses.rows, []string{"feature", f.Name, how})
	}
	outputs := section{header: []string{"OUTPUT", "NAME", "SHOWN"}}
	for i, o := range r.Outputs {
		shown := "as it is"
		switch {
		case o.Withheld:
			shown = "withheld: its origin is not known"
		case o.Masked != "":
			shown = "masked by " + o.Masked
		}
		outputs.rows = append(outputs.rows, []string{strconv.Itoa(i + 1), o.Name, shown})
	}
	return []section{statements, uses, outputs, programs(r), findings(r)}
}

func programs(r *explain.Report) section {
	s := section{header: []string{"STARTS", "NOTE"}}
	for _, p := range r.Programs {
		var notes []string
		if p.Transparent {
			notes = append(notes, "needs no place in a list")
		}
		if p.Opaque != "" {
			notes = append(notes, p.Opaque)
		}
		for _, f := range p.Files {
			notes = append(notes, "opens "+f)
		}
		s.rows = append(s.rows, []string{strings.Join(p.Words, " "), strings.Join(notes, "; ")})
	}
	return s
}

func findings(r *explain.Report) section {
	s := section{header: []string{"RULE", "ACTION", "MATCH", "WHY"}}
	for _, f := range r.Findings {
		match, why := "", f.Message
		if f.Item != nil {
			match = fmt.Sprintf("spec.match[%d]", *f.Item)
		}
		switch {
		case f.Undecided != "":
			why = "the expression fails: " + f.Undecided
		case f.Unqualified:
			why = "a relation is named without its schema, and so matches every one"
		}
		s.rows = append(s.rows, []string{f.Rule, f.Action, match, why})
	}
	return s
}

func relationName(x explain.Relation) string {
	schema, name := x.Schema, x.Name
	if schema == "" {
		schema = "(any schema)"
	}
	if name == "" {
		name = "(any)"
	}
	return schema + "." + name
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
