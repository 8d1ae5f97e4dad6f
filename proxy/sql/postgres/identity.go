package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// identities remember under which names columns were masked, so that a mask stays on a
// column that is renamed, or whose relation is renamed or moved. They are of all sessions
// of a process, and nothing is ever dropped from them: an OID that comes again for another
// column masks one too many.
type identities struct {
	mu sync.RWMutex
	// columns are the names under which each was masked by the policy of that time.
	columns map[identity][]sql.ColumnName
	held    map[relationIdentity]bool // relations of columns
	tables  map[[2]string]bool        // names of those relations, after the database
	// surveyed is when each database was surveyed, by the policy of that time.
	surveyed map[[2]string]time.Time
}

type relationIdentity struct {
	database string // the cluster's identifier and the database's OID
	oid      uint32
}

type identity struct {
	relationIdentity
	attribute int
}

// newIdentity takes the texts of a relation's OID and of a column's number.
func newIdentity(database, relation, attribute string) (identity, error) {
	oid, err := parseOID(relation)
	if err != nil {
		return identity{}, err
	}
	number, err := strconv.Atoi(attribute)
	if err != nil {
		return identity{}, errCatalogAnswer
	}
	return identity{relationIdentity{database, oid}, number}, nil
}

const (
	// maxIdentities bounds the masked columns that are remembered, maxFormerNames the names
	// of each.
	maxIdentities  = 200_000
	maxFormerNames = 16
	// surveyPage is how many columns one question returns, maxSurveyPages how many are asked.
	surveyPage     = 10_000
	maxSurveyPages = 200
	// surveyEvery is how long sessions that begin rely on the survey of another.
	surveyEvery = 10 * time.Second
)

var errManyIdentities = errors.New("more masked columns were seen than are remembered; restart the proxy")

func newIdentities() *identities {
	return &identities{columns: map[identity][]sql.ColumnName{}, held: map[relationIdentity]bool{}, tables: map[[2]string]bool{}, surveyed: map[[2]string]time.Time{}}
}

// put remembers that a column is masked under a name.
func (s *identities) put(id identity, name sql.ColumnName) error {
	s.mu.RLock()
	known := slices.Contains(s.columns[id], name)
	s.mu.RUnlock()
	if known {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list, seen := s.columns[id]
	if !seen && len(s.columns) >= maxIdentities || len(list) >= maxFormerNames {
		return errManyIdentities
	}
	if !slices.Contains(list, name) {
		s.columns[id] = append(slices.Clip(list), name)
		s.held[id.relationIdentity] = true
		if !strings.HasPrefix(name.Schema, "pg_temp") {
			s.tables[[2]string{id.database, name.Table}] = true
		}
	}
	return nil
}

func (s *identities) names(id identity) []sql.ColumnName {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.columns[id]
}

func (s *identities) holds(r relationIdentity) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.held[r]
}

// namesTable reports whether a name is that of a table in the database, in any schema, that has masked columns or had.
func (s *identities) namesTable(database, table string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tables[[2]string{database, table}]
}

// mask returns the mask that the policy has for a name under which a column was masked.
func (s *identities) mask(id identity, masks sql.Columns) (sql.MaskRef, sql.ColumnName) {
	for _, n := range s.names(id) {
		if ref := masks.Mask(n.Schema, n.Table, n.Column); ref != 0 {
			return ref, n
		}
	}
	return 0, sql.ColumnName{}
}

const databaseQuery = `SELECT 'database', c.system_identifier::pg_catalog.text, d.oid::pg_catalog.text, NULL::pg_catalog.text, NULL::pg_catalog.text` +
	` FROM pg_catalog.pg_control_system() c, pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()`

// surveyQuery asks for a page of the columns of all lasting tables, those after a column.
var surveyQuery = `SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, a.attname::pg_catalog.text, a.attrelid::pg_catalog.text, a.attnum::pg_catalog.text` +
	` FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid` +
	` JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace` +
	` WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m}'::pg_catalog."char"[])` +
	` AND c.relpersistence OPERATOR(pg_catalog.<>) 't' AND n.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema}'::pg_catalog.name[])` +
	` AND ROW(a.attrelid, a.attnum) OPERATOR(pg_catalog.>) ROW($1::pg_catalog.oid, $2::pg_catalog.int2)` +
	` ORDER BY a.attrelid, a.attnum LIMIT ` + strconv.Itoa(surveyPage)

// kinNamesQuery asks for the names of the columns of relations that share rows with others.
const kinNamesQuery = `SELECT 'named', a.attrelid::pg_catalog.text, a.attnum::pg_catalog.text, a.attname::pg_catalog.text, NULL::pg_catalog.text` +
	` FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[]) AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped`

// survey remembers all columns that are masked now, once for each session and policy: what
// is renamed later need not have been queried before.
func (s *identities) survey(ctx context.Context, c *Catalog, masks sql.Columns, version string) error {
	if c.database != "" && c.surveyed == version {
		return nil
	}
	answers, err := c.q.Ask(ctx, Question{SQL: databaseQuery})
	if err != nil {
		return fmt.Errorf("read the catalog: %w", err)
	}
	if len(answers) != 1 || len(answers[0]) != 1 || len(answers[0][0]) != 5 {
		return errCatalogAnswer
	}
	v := values(answers[0][0])
	database := v[1] + "." + v[2]
	if s.lately(database, version) {
		c.database, c.surveyed = database, version
		return nil
	}
	ask, err := c.asks(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	after := []string{"0", "0"}
	for range maxSurveyPages {
		answers, err := ask(ctx, Question{SQL: surveyQuery, Arguments: after})
		if err != nil {
			return fmt.Errorf("read the catalog: %w", err)
		}
		if len(answers) != 1 {
			return errCatalogAnswer
		}
		for _, row := range answers[0] {
			if len(row) != 5 {
				return errCatalogAnswer
			}
			v := values(row)
			if err := s.note(database, v, masks); err != nil {
				return err
			}
			after = v[3:5:5]
		}
		if len(answers[0]) < surveyPage {
			c.database, c.surveyed = database, version
			s.done(database, version, began)
			return nil
		}
	}
	return errManyIdentities
}

// lately reports whether a survey of the database was made not long ago.
func (s *identities) lately(database, version string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, made := s.surveyed[[2]string{database, version}]
	return made && version != "" && time.Since(at) < surveyEvery
}

func (s *identities) done(database, version string, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, at := range s.surveyed {
		if time.Since(at) >= surveyEvery {
			delete(s.surveyed, k)
		}
	}
	s.surveyed[[2]string{database, version}] = began
}

// note takes a row of surveyQuery.
func (s *identities) note(database string, v [5]string, masks sql.Columns) error {
	id, err := newIdentity(database, v[3], v[4])
	if err != nil {
		return err
	}
	if masks.Mask(v[0], v[1], v[2]) == 0 {
		return nil
	}
	return s.put(id, sql.ColumnName{Schema: v[0], Table: v[1], Column: v[2]})
}

// formerly returns, for the relations that share rows with others, what the columns that
// have a name now were called when they were masked. rows answer columnsQuery.
func (s *identities) formerly(ctx context.Context, c *Catalog, d *definitions, rows [][]*string, masks sql.Columns) (map[string]map[string][]sql.ColumnName, error) {
	var ask []string
	for _, row := range rows {
		v := values(row)
		if v[0] != "kin" || v[1] == v[4] || slices.Contains(ask, v[4]) {
			continue
		}
		oid, err := parseOID(v[4])
		if err != nil {
			return nil, err
		}
		if s.holds(relationIdentity{c.database, oid}) {
			ask = append(ask, v[4])
		}
	}
	if len(ask) == 0 {
		return nil, nil
	}
	slices.Sort(ask)
	named, err := d.read(ctx, c, Question{SQL: kinNamesQuery, Arguments: []string{array(ask)}})
	if err != nil {
		return nil, err
	}
	out := map[string]map[string][]sql.ColumnName{}
	for _, row := range named {
		v := values(row)
		id, err := newIdentity(c.database, v[1], v[2])
		if err != nil {
			return nil, err
		}
		if ref, n := s.mask(id, masks); ref != 0 {
			if out[v[1]] == nil {
				out[v[1]] = map[string][]sql.ColumnName{}
			}
			out[v[1]][v[3]] = append(out[v[1]][v[3]], n)
		}
	}
	return out, nil
}

// drifted returns a name in the rules, without a star, of a column that a relation should
// have and neither has nor had: it may have been renamed before anybody looked.
func (k *known) drifted(r *relation, numbers map[string]*column) string {
	for _, p := range k.masks.Names() {
		if strings.Contains(p.Schema+p.Table+p.Column, "*") || !strings.EqualFold(p.Schema, r.schema) || !strings.EqualFold(p.Table, r.name) ||
			slices.ContainsFunc(r.columns, func(c column) bool { return strings.EqualFold(c.name, p.Column) }) {
			continue
		}
		had := false
		for n := range numbers {
			number, err := strconv.Atoi(n)
			had = had || err == nil && slices.ContainsFunc(k.masked.names(identity{relationIdentity{k.database, r.oid}, number}), func(f sql.ColumnName) bool {
				return strings.EqualFold(f.Schema, p.Schema) && strings.EqualFold(f.Table, p.Table) && strings.EqualFold(f.Column, p.Column)
			})
		}
		if !had {
			return p.Schema + "." + p.Table + "." + p.Column
		}
	}
	return ""
}

// follows reports whether a column of a relation was masked, given as texts.
func (k *known) follows(relation, attribute string) bool {
	id, err := newIdentity(k.database, relation, attribute)
	if err != nil {
		return true
	}
	ref, _ := k.masked.mask(id, k.masks)
	return ref != 0
}
