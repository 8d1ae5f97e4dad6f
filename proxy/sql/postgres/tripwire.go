package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// On a database in which others commit all the time no snapshot proves that definitions are
// unchanged. There a tripwire does: a prepared statement in the session's own backend that
// depends on every relation that an analysis relied on, and so falls, with the plans of all
// statements that use one, by the same message of the server by which those do.
//
// It depends on a relation by naming its number as a constant, for which the server makes a
// plan anew when that relation changes: this needs no right to the relation, reads nothing
// and locks nothing. That it fell is told by the literal 'now', of which the server makes a
// constant when it analyses the statement, first or again: the beginning of that transaction.
// A tripwire that says the time of its last setting has not fallen since. One that was set in
// the transaction that asks proves nothing, since it would say the same if it had fallen there:
// whenever one says that, all that relied on it before read their definitions again.
//
// What can change without such a message is asked for: what the names in the text mean, the
// session's path, role and settings, and the operators and casts of users (probe). The order
// is the proof. A definition is read, and a tripwire set before; later the server locks
// what the statement uses, then comes the probe, which has the server take in all messages
// at its end, then the tripwire.
//
//   - What needs a lock against readers to be changed cannot be changed any more when the
//     statement holds its own; whoever changed it before told so before letting go of the
//     lock, which the server takes in when it gets it. The same goes for a new child: its lock
//     is the last thing that whoever attached it gives up.
//   - What is changed without such a lock is told some moment after others can see it. Who
//     has not told it yet holds the row still, so that the probe sees it as the statement did;
//     who has, told the tripwire.
//
// Where anything differs the definitions are read again, and the tripwire is set again.

const (
	// maxTripwires bounds the tripwires of a session.
	maxTripwires = 32
	// maxWired bounds the relations that one is for, maxProbe the size of what a probe says.
	maxWired = 512
	maxProbe = 4 << 10
	// quietEvery is how often a session whose definitions a tripwire proves looks whether others
	// still commit.
	quietEvery = 64
)

// Modes of the last parameter of tripwires and probes: what 1 is divided by where nothing is
// proven.
const (
	fails = "0"  // the assertion fails
	tells = "-1" // it is answered, together with what there is now
)

// tripwireQuery is a tripwire for relations. Its parameters are the time that it has to say and
// the mode. It says 1 if it has not fallen, and in the mode tells what time it was set, and
// whether that was in this transaction.
func tripwireQuery(relations []uint32) string {
	const set = `'now'::pg_catalog.timestamptz`
	var b strings.Builder
	b.WriteString(`SELECT 1 OPERATOR(pg_catalog./) CASE WHEN pg_catalog.extract('epoch', ` + set + `) OPERATOR(pg_catalog.=) $1::pg_catalog.numeric` +
		` AND ` + set + ` OPERATOR(pg_catalog.<>) pg_catalog.now() THEN 1 ELSE $2::pg_catalog.int4 END,` +
		` CASE WHEN $2::pg_catalog.int4 OPERATOR(pg_catalog.<) 0 THEN pg_catalog.extract('epoch', ` + set + `)::pg_catalog.text END,` +
		` CASE WHEN $2::pg_catalog.int4 OPERATOR(pg_catalog.<) 0 THEN (` + set + ` OPERATOR(pg_catalog.=) pg_catalog.now())::pg_catalog.text END WHERE COALESCE(`)
	for i, oid := range relations {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("'" + strconv.FormatUint(uint64(oid), 10) + "'::pg_catalog.oid")
	}
	b.WriteString(`) IS NOT NULL`)
	return b.String()
}

// probeQuery asks for what a tripwire does not tell. Its parameters are what it has to say, the
// names of relations as in SQL, those of functions and of types if there are any, and the
// mode. It says 1 if it is so, and in the mode tells what is so; NULL where nothing could be
// proven by that.
func probeQuery(functions, types bool) string {
	parameters := 2
	next := func(typ string) string {
		parameters++
		return "$" + strconv.Itoa(parameters) + "::pg_catalog." + typ
	}
	objects := func(catalog string) string {
		return `SELECT pg_catalog.concat(x.oid, ' ', x.xmin) FROM pg_catalog.` + catalog + ` x WHERE x.oid OPERATOR(pg_catalog.>=) ` + firstUserOID + `::pg_catalog.oid`
	}
	list := []string{`pg_catalog.current_schemas(true)::pg_catalog.text`, `CURRENT_USER::pg_catalog.text`, `SESSION_USER::pg_catalog.text`}
	for _, setting := range []string{"session_replication_role", "is_superuser", "row_security", "standard_conforming_strings", "client_encoding"} {
		list = append(list, `pg_catalog.current_setting('`+setting+`')`)
	}
	list = append(list, `ARRAY(SELECT pg_catalog.to_regclass(r.n)::pg_catalog.oid FROM pg_catalog.unnest($2::pg_catalog.text[]) r(n))::pg_catalog.text`,
		`ARRAY(`+objects("pg_operator")+` UNION ALL `+objects("pg_cast")+`)::pg_catalog.text`)
	if functions {
		list = append(list, `ARRAY(`+objects("pg_proc")+` AND x.proname OPERATOR(pg_catalog.=) `+anyOf(next("name[]"))+`)::pg_catalog.text`)
	}
	if types {
		list = append(list, `ARRAY(`+objects("pg_type")+` AND x.typname OPERATOR(pg_catalog.=) `+anyOf(next("name[]"))+`)::pg_catalog.text`)
	}
	mode := next("int4")
	// The size of a relation that is none is asked for since its lock makes the server take in
	// what others have told it: before anything else, and, beneath the outer CASE, after it.
	// Asking for the backend's number keeps that in the session's own process.
	const takeIn = `pg_catalog.pg_relation_size('0'::pg_catalog.regclass, 'main') IS NULL AND pg_catalog.pg_backend_pid() IS NOT NULL`
	return `SELECT 1 OPERATOR(pg_catalog./) CASE WHEN p."is" OPERATOR(pg_catalog.=) $1::pg_catalog.text` +
		` THEN CASE WHEN ` + takeIn + ` THEN 1 ELSE ` + mode + ` END ELSE ` + mode + ` END,` +
		` CASE WHEN ` + mode + ` OPERATOR(pg_catalog.<) 0 THEN p."is" END` +
		` FROM (SELECT CASE WHEN ` + takeIn + ` AND NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed'` +
		` THEN ARRAY[` + strings.Join(list, ", ") + `]::pg_catalog.text END OFFSET 0) p("is")`
}

// wired is what definitions rely on as far as a tripwire can tell of it.
type wired struct {
	plain     bool // the server plans the statement when it binds it
	barred    bool // something is relied on of which no tripwire tells
	relations map[uint32]bool
	names     mentioned
	reread    int // how often the definitions were read again since a tripwire was of no use
}

// set is a tripwire as it was set for definitions.
type set struct {
	tripwire, probe Question
	token           string
	on              *tripwire
	generation      uint64
}

// tripwire is one that is prepared on the server. Definitions of the same relations share one.
type tripwire struct {
	used uint64 // when it was used last, as tripwires.uses counts
	// generation counts when it may have been set anew: what was set before holds no more.
	generation uint64
}

// stands reports whether nothing is known by which the tripwire would have fallen.
func (s *set) stands() bool { return s != nil && s.generation == s.on.generation }

// note takes the answer to a question that the definitions rely on.
func (w *wired) note(q Question, rows [][]*string) {
	for _, row := range rows {
		v := values(row)
		var oids []string
		switch {
		case v[0] == "function", v[0] == "cast", v[0] == "other", v[0] == "type", v[0] == "field", v[0] == "late":
			w.barred = true // nothing locks a function, nor what a type's checks call or what it is made of
		case v[0] == "relation" && q.SQL == namesQuery:
			oids = []string{v[3]}
		case v[0] == "relation":
			oids = []string{v[1], v[2]}
		case v[0] == "kin":
			oids = []string{v[1], v[4]}
		case v[0] == "reference", v[0] == "referenced", v[0] == "generated", v[0] == "filtered":
			var of []string
			if json.Unmarshal([]byte(v[3]), &of) != nil || len(of) != 4 {
				w.barred = true
				return
			}
			oids = []string{v[1], of[2]}
		case q.SQL == columnsQuery, v[0] == "view", v[0] == "named":
			oids = []string{v[1]}
		}
		for _, s := range oids {
			oid, err := parseOID(s)
			if err != nil {
				w.barred = true
				return
			}
			w.relations[oid] = true
		}
	}
	if len(w.relations) > maxWired {
		w.barred = true
	}
}

// questions are the tripwire and the probe, to be asked for what they say now.
func (w *wired) questions() (tripwire, probe Question) {
	oids := make([]uint32, 0, len(w.relations)+1)
	for oid := range w.relations {
		oids = append(oids, oid)
	}
	if len(oids) == 0 {
		oids = append(oids, 0) // it still falls with what all plans fall by
	}
	slices.Sort(oids)
	var names []string
	for _, n := range w.names.relations {
		names = append(names, sqlName(n))
		for _, s := range w.names.schemas {
			names = append(names, sqlName(s)+"."+sqlName(n))
		}
	}
	arguments := []string{"", array(names)}
	for _, list := range [][]string{w.names.functions, w.names.types} {
		if len(list) > 0 {
			arguments = append(arguments, array(list))
		}
	}
	return Question{SQL: tripwireQuery(oids), Arguments: []string{"0", tells}},
		Question{SQL: probeQuery(len(w.names.functions) > 0, len(w.names.types) > 0), Arguments: append(arguments, tells)}
}

// sqlName is a name as SQL has it.
func sqlName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

const (
	// setAfter is how often definitions are read again before a tripwire is set for them: most
	// statements that are seen once are not seen again. setLater is the same after one was of
	// no use, since it was set in the transaction itself.
	setAfter = 2
	setLater = 10
)

// wire returns the questions by which a tripwire is set before definitions are read again;
// nil if none is to be set.
func (d *definitions) wire() []Question {
	d.set = nil
	d.wired.reread++
	if !d.wired.plain || d.wired.barred || d.wired.reread < setAfter || d.makes != nil || d.uses != nil {
		return nil
	}
	tripwire, probe := d.wired.questions()
	return []Question{tripwire, probe}
}

// wireSet takes the answers to wire's questions, after which the definitions were found to be
// what they were.
func (d *definitions) wireSet(c *Catalog, questions []Question, answers [][][]*string) {
	if len(questions) != 2 || len(answers) != 2 || keepsSnapshot(c.isolation) {
		return
	}
	on := c.tripwires.take(c, questions[0].SQL)
	said, ok := on.said(answers[0])
	if !ok || len(answers[1]) != 1 || len(answers[1][0]) != 2 || answers[1][0][1] == nil || len(*answers[1][0][1]) > maxProbe {
		return
	}
	c.tripwires.sets++
	s := &set{tripwire: questions[0], probe: questions[1], on: on, generation: on.generation, token: "tripwire " + strconv.FormatUint(c.tripwires.sets, 10)}
	s.tripwire.Arguments, s.probe.Arguments = slices.Clone(s.tripwire.Arguments), slices.Clone(s.probe.Arguments)
	s.tripwire.Arguments[0], s.probe.Arguments[0] = said, *answers[1][0][1]
	d.set = s
}

// said takes what a tripwire tells: the time when it was set.
func (t *tripwire) said(rows [][]*string) (at string, ok bool) {
	if len(rows) != 1 || len(rows[0]) != 3 || rows[0][1] == nil || rows[0][2] == nil || *rows[0][1] == "" {
		t.generation++
		return "", false
	}
	if *rows[0][2] != "false" {
		t.generation++
	}
	return *rows[0][1], true
}

// Forgetter is a Querier that may give up what it prepared for a question.
type Forgetter interface{ ForgetQuestion(sql string) }

// tripwires are those of a session.
type tripwires struct {
	of     map[string]*tripwire // by text
	uses   uint64
	sets   uint64 // how often one was set
	proofs int    // how often one was asked
	looked string // the state that was seen when others were last looked for
}

// take returns the tripwire of a text, to be used. The one that was used longest ago is given
// up if there are too many.
func (t *tripwires) take(c *Catalog, text string) *tripwire {
	on := t.of[text]
	if on == nil {
		on = &tripwire{}
		t.of[text] = on
	}
	t.uses++
	on.used = t.uses
	if len(t.of) <= maxTripwires {
		return on
	}
	oldest := text
	for other, w := range t.of {
		if w.used < t.of[oldest].used {
			oldest = other
		}
	}
	t.of[oldest].generation++
	delete(t.of, oldest)
	if f, ok := c.q.(Forgetter); ok {
		f.ForgetQuestion(oldest)
	}
	return on
}

// fall notes that all may have fallen: it is not known what became of a question.
func (t *tripwires) fall() {
	for _, w := range t.of {
		w.generation++
	}
}

// in is a question of the tripwire in a mode.
func in(q Question, mode string) Question {
	q.Arguments = slices.Clone(q.Arguments)
	q.Arguments[len(q.Arguments)-1] = mode
	return q
}

// untouched asks the tripwire whether the definitions are what they were. From time to time it
// asks for the server's state too, and has them read where that would do again.
func (d *definitions) untouched(ctx context.Context, c *Catalog) (bool, error) {
	questions := []Question{in(d.set.probe, tells), in(d.set.tripwire, tells)}
	c.tripwires.proofs++
	look := c.tripwires.proofs%quietEvery == 0
	if look {
		questions = append([]Question{{SQL: stateQuery}}, questions...)
	}
	answers, err := c.q.Ask(ctx, questions...)
	if err != nil {
		c.tripwires.fall()
		return false, fmt.Errorf("read the catalog: %w", err)
	}
	if len(answers) != len(questions) {
		c.tripwires.fall()
		return false, errCatalogAnswer
	}
	if look {
		state := c.observe(answers[0])
		c.calm = c.calm && state == c.tripwires.looked
		c.tripwires.looked, answers = state, answers[1:]
	}
	on := c.tripwires.take(c, d.set.tripwire.SQL)
	before := on.generation
	if _, ok := on.said(answers[1]); ok && on.generation != before {
		d.wired.reread = setAfter - setLater // it was set in this transaction
	}
	if on != d.set.on || !one(answers[1]) {
		on.generation++
	}
	if !d.set.stands() || !one(answers[0]) {
		d.set = nil
		return false, nil
	}
	// Others have stopped. What one of them has not told yet the snapshot counts as done: only
	// definitions that were read are proven by it from now on.
	return !look || !c.calm, nil
}

// one reports whether the answer to a tripwire or probe is 1.
func one(rows [][]*string) bool {
	return len(rows) == 1 && len(rows[0]) > 1 && rows[0][0] != nil && *rows[0][0] == "1"
}

// assertTripwire is Assert by a tripwire.
func (c *Catalog) assertTripwire(d *definitions) (Assertion, bool) {
	if !d.set.stands() || (c.tripwires.proofs+1)%quietEvery == 0 {
		return Assertion{}, false
	}
	c.tripwires.proofs++
	c.tripwires.take(c, d.set.tripwire.SQL)
	c.relied = d.set.on
	probe := in(d.set.probe, fails)
	a := in(d.set.tripwire, fails)
	a.Before = &probe
	return a, true
}

// Likely reports whether Verify is likely to find f to hold without reading definitions:
// nothing was committed lately, or a tripwire is set for it.
func (c *Catalog) Likely(f *sql.Facts) bool {
	d, ok := f.Definitions.(*definitions)
	return c.calm || ok && d.set.stands()
}
