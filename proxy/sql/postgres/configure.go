package postgres

import (
	"regexp"
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// escapes are settings that change how later statements are read, what guards apply to
// them, or what the server's log tells of them.
var escapes = words(`standard_conforming_strings backslash_quote client_encoding session_replication_role row_security
	allow_system_table_mods ignore_system_indexes zero_damaged_pages check_function_bodies debug_print_parse debug_print_rewritten debug_print_plan
	log_statement log_min_messages log_min_error_statement log_min_duration_statement lo_compat_privileges createrole_self_grant debug_discard_caches`)

// loads are settings that make the server load code or run programs.
var loads = words(`local_preload_libraries session_preload_libraries shared_preload_libraries dynamic_library_path extension_control_path
	jit_provider archive_command archive_library archive_cleanup_command restore_command recovery_end_command ssl_passphrase_command`)

// setting reports what a change of a setting means.
func (c *classifier) setting(m *pgquery.VariableSetStmt) {
	if m == nil {
		return
	}
	c.facts.SetsPath = c.facts.SetsPath || strings.EqualFold(m.Name, searchPath)
	if !harmless(m) {
		c.settingNamed(m.Name)
	}
}

// settingNamed reports what a change of a setting to an unknown value means.
func (c *classifier) settingNamed(name string) {
	name = strings.ToLower(name)
	switch {
	case name == "role" || name == "session_authorization":
		c.feature(sql.FeatureRoleChange)
	case loads[name]:
		c.feature(sql.FeatureLoadLibrary)
	case escapes[name], strings.HasPrefix(name, "pgaudit."):
		c.feature(sql.FeatureSettingEscape)
	}
}

// harmless reports whether a setting is set to what the gate itself relies on, or to what
// takes no guard away; drivers do so when they start.
func harmless(m *pgquery.VariableSetStmt) bool {
	if m.Kind != pgquery.VariableSetKind_VAR_SET_VALUE || len(m.Args) != 1 {
		return false
	}
	return harmlessValue(m.Name, m.Args[0].GetAConst().GetSval().GetSval())
}

func harmlessValue(name, value string) bool {
	value = strings.ToLower(value)
	switch strings.ToLower(name) {
	case "standard_conforming_strings":
		return value == "on" || value == "true"
	case "row_security":
		// Off, as pg_dump has it, makes statements fail whose rows a policy would filter; it
		// shows none of them.
		return value == "on" || value == "true" || value == "off" || value == "false"
	case "client_encoding":
		return value == "utf8" || value == "utf-8" || value == "unicode"
	case "check_function_bodies":
		// Off, as pg_dump has it, lets functions be made whose bodies do not compile; what a body
		// may do is decided where it is made.
		return value == "on" || value == "true" || value == "off" || value == "false"
	case "default_table_access_method":
		return value == "heap"
	}
	return false
}

// configures classifies set_config of a setting that is named by a constant, as pg_dump
// starts with: it is the SET of that name. It reports whether m is one.
func (c *classifier) configures(m *pgquery.FuncCall) bool {
	name := names(m.Funcname)
	if len(name) == 0 || len(name) > 2 || last(m.Funcname) != "set_config" || len(name) == 2 && name[0] != "pg_catalog" || len(m.Args) != 3 {
		return false
	}
	setting, value := m.Args[0].GetAConst().GetSval(), m.Args[1].GetAConst().GetSval()
	if setting == nil {
		setting = c.pinned[m]
	}
	if setting == nil {
		return false
	}
	f := sql.Function{Name: "set_config"}
	if len(name) == 2 {
		f.Schema = name[0]
	}
	if !slices.Contains(c.facts.Functions, f) {
		c.facts.Functions = append(c.facts.Functions, f)
	}
	c.raise(sql.GroupSession)
	c.facts.SetsPath = c.facts.SetsPath || strings.EqualFold(setting.Sval, searchPath)
	if value == nil || !harmlessValue(setting.Sval, value.Sval) {
		c.settingNamed(setting.Sval)
	}
	return true
}

// settingName is how settings are named. Text of another form may equal the name of one by
// the rules of the column's type or collation, such as blanks at its end.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// pin notes the output columns set_config(c, …) of a query with the condition c = constant
// and no other: that is the name of the setting, if there is a row. So pg_dump sets what
// not every version has.
func (c *classifier) pin(m *pgquery.SelectStmt) {
	where := m.WhereClause.GetAExpr()
	if where.GetKind() != pgquery.A_Expr_Kind_AEXPR_OP || !slices.Equal(names(where.GetName()), []string{"="}) {
		return
	}
	column, value := where.GetLexpr().GetColumnRef().GetFields(), where.GetRexpr().GetAConst().GetSval()
	if len(column) != 1 || last(column) == "" || value == nil || !settingName.MatchString(value.Sval) {
		return
	}
	for _, t := range m.TargetList {
		f := t.GetResTarget().GetVal().GetFuncCall()
		if f == nil || len(f.Args) == 0 {
			continue
		}
		if ref := f.Args[0].GetColumnRef().GetFields(); len(ref) == 1 && last(ref) == last(column) {
			c.pinned[f] = value
		}
	}
}

// setConfig treats set_config of a name that is computed as SET of any: what it sets is
// not known.
func (c *classifier) setConfig() {
	c.feature(sql.FeatureSettingEscape)
	c.raise(sql.GroupAdministration)
	c.facts.SetsPath = true
}

// configures reports whether a call is set_config of a setting that SET may change, as clients
// do when they start. What belongs to the transaction is left to SET, which comes by itself.
func (t *tracer) configures(f *pgquery.FuncCall, name []string) bool {
	own := len(name) == 2 && name[0] == "pg_catalog" || len(name) == 1 && !t.names.functions["set_config"]
	if !own || last(f.Funcname) != "set_config" || len(f.Args) != 3 || f.AggOrder != nil || f.AggFilter != nil || f.Over != nil || f.FuncVariadic || f.AggStar || f.AggDistinct {
		return false
	}
	setting, value := f.Args[0].GetAConst().GetSval(), f.Args[1].GetAConst().GetSval()
	if setting == nil || value == nil || f.Args[2].GetAConst().GetBoolval() == nil {
		return false
	}
	key := strings.ToLower(setting.Sval)
	return plainSettings[key] && !strings.Contains(key, "transaction_") || harmlessValue(key, value.Sval) || key == searchPath && PlainPath(value.Sval)
}

// settleConfigured denies set_config beside rows of tables: when it is called depends on
// them, and how they are written on it. Nor may a definition call it later.
func (t *tracer) settleConfigured(m any) {
	if !t.configured {
		return
	}
	if _, ok := m.(*pgquery.SelectStmt); !ok {
		t.denyWith("set_config is called in a statement other than SELECT", "use SET")
		return
	}
	for r := range t.used {
		if !r.system {
			t.denyWith("set_config is called in a statement that reads tables", "send it as a statement of its own")
			return
		}
	}
}
