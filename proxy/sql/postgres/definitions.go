package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// Catalog queries name everything in full, operators included: they mean the same under
// any search_path. Each returns rows of five columns: a tag and four values.

// allowedExtensions are extensions of PostgreSQL's own distribution whose operators,
// functions and casts compute and read nothing.
const allowedExtensions = `'{btree_gin,btree_gist,citext,cube,hstore,intarray,isn,ltree,pg_trgm,pgcrypto,plpgsql,seg,unaccent,uuid-ossp}'::pg_catalog.name[]`

const firstUserOID = "16384"

// extensionOf is a condition: the object is not of an allowed extension.
func notOfExtension(class, oid string) string {
	return ` AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid` +
		` WHERE d.classid OPERATOR(pg_catalog.=) '` + class + `'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) ` + oid +
		` AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype OPERATOR(pg_catalog.=) 'e'` +
		` AND e.extname OPERATOR(pg_catalog.=) ANY (` + allowedExtensions + `))`
}

// mentioned are the names that a command mentions and whose meaning the catalog decides.
type mentioned struct {
	relations, schemas, functions, operators, types []string
}

// stateQuery asks for what changes whenever a definition may have changed. The snapshot
// names every transaction that is complete: if it is the same as before, none that could
// have changed anything has ended since. That says nothing of changes made by the own
// transaction, which has an ID then, nor on a standby, where the snapshot is less precise;
// the first column is NULL in both cases. Settings, role and path belong to the session.
const stateQuery = `SELECT CASE WHEN pg_catalog.pg_is_in_recovery() OR pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL THEN NULL` +
	` ELSE pg_catalog.pg_current_snapshot()::pg_catalog.text END, pg_catalog.current_schemas(true)::pg_catalog.text, CURRENT_USER::pg_catalog.text, SESSION_USER::pg_catalog.text,` +
	` pg_catalog.current_setting('transaction_isolation'), pg_catalog.current_setting('standard_conforming_strings'), pg_catalog.current_setting('client_encoding'),` +
	` pg_catalog.current_setting('session_replication_role'), pg_catalog.current_setting('is_superuser')`

// anyOf is a list of names as a parameter. The planner does not see what it holds, so that
// a plan for any list is as good as one for this list and the statement is planned once.
func anyOf(parameter string) string {
	return `ANY (ARRAY(SELECT pg_catalog.unnest(` + parameter + `)))`
}

// namesQuery asks what the names of a command may mean, and under which settings. Its
// parameters are functions, operators, types, relations and schemas.
var namesQuery = func() string {
	functions, operators, types := anyOf(`$1::pg_catalog.name[]`), anyOf(`$2::pg_catalog.name[]`), anyOf(`$3::pg_catalog.name[]`)
	relations, schemas := anyOf(`$4::pg_catalog.name[]`), anyOf(`$5::pg_catalog.name[]`)
	path := `(SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(true))` +
		` AND n.nspname OPERATOR(pg_catalog.<>) 'pg_catalog')`
	return `SELECT 'schema', s.n::pg_catalog.text, s.o::pg_catalog.text, NULL::pg_catalog.text, NULL::pg_catalog.text` +
		` FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) WITH ORDINALITY s(n, o)` +
		` UNION ALL SELECT 'setting', s.n, pg_catalog.current_setting(s.n), NULL, NULL FROM pg_catalog.unnest('{standard_conforming_strings,client_encoding,server_encoding,server_version_num,session_replication_role,is_superuser}'::pg_catalog.text[]) s(n)` +
		` UNION ALL SELECT 'role', current_user::pg_catalog.text, session_user::pg_catalog.text, NULL, NULL` +
		` UNION ALL SELECT 'temp', n.nspname::pg_catalog.text, NULL, NULL, NULL FROM pg_catalog.pg_namespace n WHERE n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()` +
		// A cast without a function, or by the functions of the types, calls nothing of a user.
		` UNION ALL SELECT 'cast', c.oid::pg_catalog.text, p.proname::pg_catalog.text, n.nspname::pg_catalog.text, ` + functionOf +
		` FROM pg_catalog.pg_cast c LEFT JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) c.castfunc LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace` +
		` WHERE c.oid OPERATOR(pg_catalog.>=) ` + firstUserOID + `::pg_catalog.oid AND c.castmethod OPERATOR(pg_catalog.=) 'f'` +
		// The server itself makes the cast of a range to its multirange.
		` AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_range r WHERE r.rngtypid OPERATOR(pg_catalog.=) c.castsource AND r.rngmultitypid OPERATOR(pg_catalog.=) c.casttarget)` +
		notOfExtension("pg_catalog.pg_cast", "c.oid") +
		` UNION ALL SELECT 'function', p.proname::pg_catalog.text, n.nspname::pg_catalog.text, ` + functionOf + `, NULL FROM pg_catalog.pg_proc p` +
		` JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace WHERE p.proname OPERATOR(pg_catalog.=) ` + functions +
		` AND n.nspname OPERATOR(pg_catalog.<>) 'pg_catalog' AND (n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(true)) OR n.nspname OPERATOR(pg_catalog.=) ` + schemas + `)` +
		` UNION ALL SELECT 'operator', p.oprname::pg_catalog.text, n.nspname::pg_catalog.text, NULL, NULL FROM pg_catalog.pg_operator p JOIN ` + path +
		` n ON n.oid OPERATOR(pg_catalog.=) p.oprnamespace WHERE p.oprname OPERATOR(pg_catalog.=) ` + operators + `` +
		notOfExtension("pg_catalog.pg_operator", "p.oid") +
		` UNION ALL SELECT 'type', t.typname::pg_catalog.text, n.nspname::pg_catalog.text, ` + harmlessType + `, NULL FROM pg_catalog.pg_type t` +
		` JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace WHERE t.typname OPERATOR(pg_catalog.=) ` + types +
		` AND n.nspname OPERATOR(pg_catalog.<>) 'pg_catalog' AND (n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(true)) OR n.nspname OPERATOR(pg_catalog.=) ` + schemas + `)` +
		` UNION ALL SELECT 'relation', c.relname::pg_catalog.text, n.nspname::pg_catalog.text, c.oid::pg_catalog.text,` +
		` pg_catalog.concat(c.relkind, c.relpersistence, CASE WHEN c.relhasrules THEN 'r' ELSE '-' END, c.xmin)` +
		` FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace` +
		` WHERE c.relname OPERATOR(pg_catalog.=) ` + relations + ` AND (n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(true))` +
		` OR n.nspname OPERATOR(pg_catalog.=) ` + schemas + `)`
}()

// columnsQuery asks for the columns of relations, for all relations that share rows with
// them by inheritance or partitioning, and for what would tell of a written value.
// Its parameter is their OIDs.
var columnsQuery = func() string {
	roots := `(SELECT $1::pg_catalog.oid[])`
	of := anyOf(roots)
	return `WITH RECURSIVE kin(root, oid) AS (SELECT r.o, r.o FROM pg_catalog.unnest(` + roots + `) r(o)` +
		` UNION SELECT k.root, CASE WHEN i.inhparent OPERATOR(pg_catalog.=) k.oid THEN i.inhrelid ELSE i.inhparent END` +
		` FROM kin k JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) k.oid OR i.inhrelid OPERATOR(pg_catalog.=) k.oid),` +
		// Foreign keys that reference them, and those that reference their tables in turn.
		` refs(root, con, rel, direct) AS (SELECT k.root, o.oid, o.conrelid, true FROM kin k JOIN ` + referencing("k.oid") +
		` UNION SELECT r.root, o.oid, o.conrelid, false FROM refs r JOIN ` + referencing("r.rel") + `),` +
		fieldsOf(of) +
		` SELECT 'column', a.attrelid::pg_catalog.text, a.attnum::pg_catalog.text, a.attname::pg_catalog.text, pg_catalog.concat(a.atttypid, ' ', a.attgenerated, ';', ` + comparedAs + `)` +
		` FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid WHERE a.attrelid OPERATOR(pg_catalog.=) ` + of + ` AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped` +
		` UNION ALL SELECT 'kin', k.root::pg_catalog.text, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.oid::pg_catalog.text` +
		` FROM kin k JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) k.oid JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace` +
		tellingQuery(of)
}()

// harmlessType is what a type t of users is whose values are made by the server's own code:
// an enum, a domain over a type of the server's whose constraints and default use nothing else, or a type
// of an allowed extension; NULL for others.
var harmlessType = `CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'e' THEN 'enum'` +
	` WHEN t.typtype OPERATOR(pg_catalog.=) 'd' AND t.typbasetype OPERATOR(pg_catalog.<) ` + firstUserOID + `::pg_catalog.oid` +
	` AND (SELECT b.typtype FROM pg_catalog.pg_type b WHERE b.oid OPERATOR(pg_catalog.=) t.typbasetype) OPERATOR(pg_catalog.=) 'b' AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k` +
	` JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) k.oid` +
	` WHERE k.contypid OPERATOR(pg_catalog.=) t.oid AND d.refobjid OPERATOR(pg_catalog.>=) ` + firstUserOID + `::pg_catalog.oid AND d.refobjid OPERATOR(pg_catalog.<>) t.oid)` +
	` AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) t.oid` +
	` AND d.refobjid OPERATOR(pg_catalog.>=) ` + firstUserOID + `::pg_catalog.oid AND d.refclassid OPERATOR(pg_catalog.<>) ALL (ARRAY['pg_catalog.pg_namespace'::pg_catalog.regclass, 'pg_catalog.pg_extension'::pg_catalog.regclass]::pg_catalog.oid[])) THEN 'domain'` +
	` WHEN t.typtype OPERATOR(pg_catalog.=) 'b' AND (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) t.typowner)` +
	` AND NOT (true` + notOfExtension("pg_catalog.pg_type", "t.oid") + `) THEN 'extension' END`

// comparedAs is the type as which values of the type t are compared: that under a domain,
// or a word for types whose OIDs differ between databases.
const comparedAs = `CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'e' THEN 'enum' WHEN t.typtype OPERATOR(pg_catalog.=) 'd' THEN t.typbasetype::pg_catalog.text` +
	` WHEN t.typname OPERATOR(pg_catalog.=) 'citext' AND EXISTS (SELECT 1 FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid` +
	` WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) t.oid` +
	` AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype OPERATOR(pg_catalog.=) 'e'` +
	` AND e.extname OPERATOR(pg_catalog.=) 'citext') THEN 'citext' ELSE t.oid::pg_catalog.text END`

// array renders names as an array in text format.
func array(list []string) string {
	var b strings.Builder
	b.WriteString("{")
	for i, s := range list {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`)
	}
	b.WriteString("}")
	return b.String()
}

func (m *mentioned) question() Question {
	return Question{SQL: namesQuery, Arguments: []string{array(m.functions), array(m.operators), array(m.types), array(m.relations), array(m.schemas)}}
}

// key is the same for no two questions.
func (q *Question) key() string {
	b := append([]byte(q.SQL[:min(len(q.SQL), 16)]), ':')
	for _, a := range q.Arguments {
		b = append(append(strconv.AppendInt(b, int64(len(a)), 10), ':'), a...)
	}
	return string(b)
}

// FromMemory reports whether f relies on what was read for an earlier analysis.
func FromMemory(f *sql.Facts) bool {
	d, ok := f.Definitions.(*definitions)
	return ok && d.remembered
}

func columnsOf(oids []uint32) Question {
	list := make([]string, 0, len(oids))
	for _, oid := range oids {
		list = append(list, strconv.FormatUint(uint64(oid), 10))
	}
	return Question{SQL: columnsQuery, Arguments: []string{"{" + strings.Join(list, ",") + "}"}}
}

// definitions are the catalog entries that an analysis relied on: what it asked and a
// digest of what it was told.
type definitions struct {
	reads []readDefinition
	masks map[origin]sql.MaskRef
	// relations are those whose columns are in masks.
	relations map[uint32]bool
	// state is an answer to stateQuery from before the reads were made or last verified; empty
	// if there was none that proves anything. It is the session's own.
	state string
	// remembered says that a read is of an earlier analysis.
	remembered bool
	// makes and uses are of DECLARE and PREPARE, and of FETCH and EXECUTE.
	makes *made
	uses  *uses
	// locks says that the command is LOCK.
	locks bool
	wired wired
	set   *set // a tripwire; nil if none is set
}

type readDefinition struct {
	question Question
	sum      [sha256.Size]byte
}

type origin struct {
	relation  uint32
	attribute uint16
}

// read asks the catalog and notes the answer. The first read is preceded by the state.
func (d *definitions) read(ctx context.Context, c *Catalog, q Question) ([][]*string, error) {
	if a := c.answers[q.key()]; a != nil {
		if len(d.reads) == 0 {
			d.state = a.state
		} else if d.state != a.state {
			d.state = ""
		}
		d.reads, d.remembered = append(d.reads, readDefinition{question: q, sum: a.sum}), true
		d.wired.note(q, a.rows)
		return a.rows, nil
	}
	questions := []Question{q}
	if len(d.reads) == 0 {
		questions = []Question{{SQL: stateQuery}, q}
	}
	answers, err := c.q.Ask(ctx, questions...)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	if len(answers) != len(questions) {
		return nil, errCatalogAnswer
	}
	if len(questions) == 2 {
		d.state = c.observe(answers[0])
	}
	rows := answers[len(answers)-1]
	for _, row := range rows {
		if len(row) != 5 || row[0] == nil {
			return nil, errCatalogAnswer
		}
	}
	sum := digest(rows)
	d.wired.note(q, rows)
	d.reads = append(d.reads, readDefinition{question: q, sum: sum})
	if len(c.answers) >= maxAnswers {
		clear(c.answers)
	}
	if len(rows) <= maxAnswerRows {
		c.answers[q.key()] = &answer{rows: rows, sum: sum, state: d.state}
	}
	return rows, nil
}

var errCatalogAnswer = errors.New("the catalog's answer is not what was asked for")

// digest is of a set of rows, whatever their order.
func digest(rows [][]*string) [sha256.Size]byte {
	lines := make([]string, 0, len(rows))
	var b []byte
	for _, row := range rows {
		b = appendRow(b[:0], row)
		lines = append(lines, string(b))
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, l := range lines {
		b = append(append(b[:0], l...), '\n')
		h.Write(b)
	}
	return [sha256.Size]byte(h.Sum(b[:0]))
}

// appendRow appends a form of a row that no other row has.
func appendRow(b []byte, row []*string) []byte {
	for _, v := range row {
		if v == nil {
			b = append(b, "-;"...)
			continue
		}
		b = append(strconv.AppendInt(b, int64(len(*v)), 10), ':')
		b = append(append(b, *v...), ';')
	}
	return b
}

// Verify makes sure that the definitions that f relies on are unchanged, after the server
// has parsed the statement and so holds them still. Where the server's state proves that
// nothing was committed since they were read, or a tripwire that nothing was that concerns
// them, they are not read again. ErrDefinitionChanged
// says that f no longer holds; any other error that it cannot be told. Facts that rely on
// no definition pass.
func (a *Analyzer) Verify(ctx context.Context, f *sql.Facts, c *Catalog) error {
	if f == nil || f.Definitions == nil {
		return nil
	}
	d, ok := f.Definitions.(*definitions)
	if !ok || c == nil {
		return ErrDefinitionChanged
	}
	if err := d.verify(ctx, c); err != nil {
		return err
	}
	return d.verifyMade(ctx, c)
}

// verify reads the definitions again if they may have changed.
func (d *definitions) verify(ctx context.Context, c *Catalog) error {
	if d.state != "" && c.calm {
		answers, err := c.q.Ask(ctx, Question{SQL: stateQuery})
		if err != nil {
			return fmt.Errorf("read the catalog: %w", err)
		}
		if len(answers) == 1 && c.observe(answers[0]) == d.state {
			return nil
		}
	}
	if d.set.stands() {
		if ok, err := d.untouched(ctx, c); ok || err != nil {
			return err
		}
	}
	wire := d.wire()
	questions := slices.Concat(wire, []Question{{SQL: stateQuery}})
	for _, r := range d.reads {
		questions = append(questions, r.question)
	}
	answers, err := c.q.Ask(ctx, questions...)
	if err != nil {
		c.tripwires.fall()
		return fmt.Errorf("read the catalog: %w", err)
	}
	if len(answers) != len(questions) {
		c.tripwires.fall()
		return errCatalogAnswer
	}
	said, answers := answers[:len(wire)], answers[len(wire):]
	state := c.observe(answers[0])
	for i, r := range d.reads {
		if digest(answers[i+1]) != r.sum {
			c.tripwires.fall()
			c.Forget()
			return ErrDefinitionChanged
		}
		if a := c.answers[r.question.key()]; a != nil && a.sum == r.sum {
			a.state = state
		}
	}
	d.state = state
	d.wireSet(c, wire, said)
	if keepsSnapshot(c.isolation) {
		return d.witness(ctx, c, answers[1:])
	}
	return nil
}

// Proof returns by what f was verified last: the setting of a tripwire, or the server's
// state; empty if it proves nothing. As long as it is the same the server makes the same of
// the same text.
func Proof(f *sql.Facts) string {
	d, ok := f.Definitions.(*definitions)
	if !ok || d.makes != nil || d.uses != nil {
		return ""
	}
	if d.set != nil {
		return d.set.token
	}
	return d.state
}

// SameDefinitions reports whether two analyses of one text were told the same by the
// catalog: only then do both hold for what the server made of the text once.
func SameDefinitions(a, b *sql.Facts) bool {
	if a == nil || b == nil {
		return false
	}
	x, _ := a.Definitions.(*definitions)
	y, _ := b.Definitions.(*definitions)
	if x == nil || y == nil {
		return x == nil && y == nil && a.Definitions == nil && b.Definitions == nil
	}
	return x.same(y)
}

// same reports whether two analyses were told the same.
func (d *definitions) same(other *definitions) bool {
	return slices.EqualFunc(d.reads, other.reads, func(p, q readDefinition) bool {
		return p.sum == q.sum && p.question.SQL == q.question.SQL && slices.Equal(p.question.Arguments, q.question.Arguments)
	})
}

// MaskedOrigin is a cross-check of a result column's origin as the server reports it: the
// mask of that column of a relation that f relies on. known is false for a column that f
// does not know, whose values must be withheld.
func MaskedOrigin(f *sql.Facts, relation uint32, attribute uint16) (mask sql.MaskRef, known bool) {
	d, ok := f.Definitions.(*definitions)
	if !ok {
		return 0, false
	}
	if int16(attribute) < 0 { // a system column
		return 0, d.relations[relation]
	}
	if attribute == 0 { // the row as a whole, which is as masked as any of its columns
		for at, mask := range d.masks {
			if at.relation == relation && mask != 0 {
				return mask | sql.WholeValue, true
			}
		}
		return 0, d.relations[relation]
	}
	mask, known = d.masks[origin{relation, attribute}]
	return mask, known
}
