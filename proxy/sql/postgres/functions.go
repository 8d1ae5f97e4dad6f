package postgres

import (
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// volatileReads are volatile functions of PostgreSQL's own that change nothing.
var volatileReads = words(`random random_normal clock_timestamp timeofday gen_random_uuid uuidv4 uuidv7 currval lastval pg_sleep pg_sleep_for
	pg_sleep_until pg_is_in_recovery pg_relation_size pg_table_size pg_indexes_size pg_total_relation_size pg_database_size pg_tablespace_size
	pg_blocking_pids pg_safe_snapshot_blocking_pids pg_current_wal_lsn pg_current_wal_insert_lsn pg_current_wal_flush_lsn pg_last_wal_receive_lsn
	pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_partition_tree pg_partition_ancestors pg_sequence_last_value pg_jit_available
	txid_status pg_xact_status pg_lock_status pg_notification_queue_usage current_query pg_collation_actual_version
	pg_database_collation_actual_version pg_xact_commit_timestamp timezone`)

// laterReads are functions without side effects that came after the release that
// functions_gen.go was written from.
var laterReads = words(`any_value array_reverse array_sample array_shuffle array_sort bit_and bit_or bit_xor casefold crc32 crc32c date_add date_subtract
	erf erfc gamma lgamma json json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize json_strip_nulls json_table json_value pg_basetype
	pg_input_error_info pg_input_is_valid merge_action pg_get_wal_resource_managers regexp_count regexp_instr regexp_like regexp_substr reverse system_user
	to_bin to_oct to_regtypemod trim_array unicode_assigned unicode_version unistr uuid_extract_timestamp uuid_extract_version xmltext
	pg_stat_get_io pg_stat_get_checkpointer_num_timed`)

// quietWrites are functions that change rows' neighbours, sequences and locks, and nothing
// that a baseline rule guards.
var quietWrites = words("nextval setval pg_notify setseed pg_stat_clear_snapshot pg_stat_force_next_flush")

// danger maps functions, by name or by name up to a star, to the feature they are.
var danger = []struct {
	feature string
	names   []string
}{
	{sql.FeatureServerFile, []string{"pg_read_file", "pg_read_file_old", "pg_read_binary_file", "pg_stat_file", "pg_ls_*", "pg_current_logfile",
		"lo_import", "lo_export", "pg_hba_file_rules", "pg_ident_file_mappings", "pg_show_all_file_settings", "pg_file_*", "pg_logdir_ls",
		"be_lo_import", "be_lo_export", "pg_get_backend_memory_contexts"}},
	{sql.FeatureLargeObject, []string{"lo_*", "loread", "lowrite", "be_lo_*"}},
	{sql.FeatureForeignServer, []string{"dblink*", "postgres_fdw_*"}},
	{sql.FeatureAlterSystem, []string{"pg_reload_conf"}},
	{sql.FeatureReplication, []string{"pg_logical_*", "pg_replication_*", "pg_create_*_slot", "pg_create_logical_replication_slot",
		"pg_create_physical_replication_slot", "pg_copy_logical_replication_slot", "pg_copy_physical_replication_slot", "pg_drop_replication_slot",
		"pg_sync_replication_slots", "pg_show_replication_origin_status"}},
	{sql.FeatureBackendControl, []string{"pg_terminate_backend", "pg_cancel_backend", "pg_log_backend_memory_contexts"}},
	{sql.FeatureServerControl, []string{"pg_backup_*", "pg_start_backup", "pg_stop_backup", "pg_promote", "pg_rotate_logfile*", "pg_switch_wal",
		"pg_create_restore_point", "pg_wal_replay_*", "pg_stat_reset*", "pg_export_snapshot", "pg_import_system_collations", "brin_*", "gin_clean_*",
		"binary_upgrade_*", "pg_extension_config_dump", "pg_nextoid", "pg_stop_making_pinned_objects", "pg_control_*", "pg_prewarm",
		"autoprewarm_*", "pg_buffercache_evict*", "pg_restore_*_stats", "pg_clear_*_stats", "pg_set_*_stats"}},
	{sql.FeatureDynamicSQL, []string{"query_to_xml*", "cursor_to_xml*", "table_to_xml*", "schema_to_xml*", "database_to_xml*", "ts_stat", "ts_rewrite",
		"crosstab*", "connectby", "xpath_table"}},
	{sql.FeatureAdvisoryLock, []string{"pg_advisory_*", "pg_try_advisory_*"}},
}

// matches reports whether a name is one of the patterns; a star stands for any run.
func matches(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		before, after, star := strings.Cut(p, "*")
		if !star {
			return name == p
		}
		return len(name) >= len(p)-1 && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
	})
}

// constructor is the name by which an older server takes a construct for a call.
func constructor(m any) string {
	switch m := m.(type) {
	case *pgquery.JsonScalarExpr:
		return "json_scalar"
	case *pgquery.JsonSerializeExpr:
		return "json_serialize"
	case *pgquery.JsonParseExpr:
		return "json"
	case *pgquery.JsonObjectConstructor:
		return "json_object"
	case *pgquery.JsonArrayConstructor, *pgquery.JsonArrayQueryConstructor:
		return "json_array"
	case *pgquery.JsonObjectAgg:
		return "json_objectagg"
	case *pgquery.JsonArrayAgg:
		return "json_arrayagg"
	case *pgquery.JsonTable:
		return "json_table"
	case *pgquery.MergeSupportFunc:
		return "merge_action"
	case *pgquery.JsonFuncExpr:
		switch m.Op {
		case pgquery.JsonExprOp_JSON_EXISTS_OP:
			return "json_exists"
		case pgquery.JsonExprOp_JSON_QUERY_OP:
			return "json_query"
		case pgquery.JsonExprOp_JSON_VALUE_OP:
			return "json_value"
		default: // JSON_TABLE is a message of its own
		}
	}
	return ""
}

// dangers returns the feature of a dangerous function; empty if it is none.
func dangers(name string) string {
	for _, d := range danger {
		if matches(name, d.names) {
			return d.feature
		}
	}
	return ""
}

// function classifies a call by the function's name.
func (c *classifier) function(name []string) {
	f := sql.Function{}
	switch len(name) {
	case 1:
		f.Name = name[0]
	case 2:
		f.Schema, f.Name = name[0], name[1]
	default:
		c.unknown("a function is named in a way that is not known")
		return
	}
	if !slices.Contains(c.facts.Functions, f) {
		c.facts.Functions = append(c.facts.Functions, f)
	}
	own := f.Schema == "" || f.Schema == "pg_catalog"
	feature := dangers(f.Name)
	switch {
	case feature == sql.FeatureAdvisoryLock:
		c.feature(feature)
		c.raise(sql.GroupWrite)
	case feature != "":
		// The names mean the same in any schema: extensions live where they were put.
		c.feature(feature)
		c.raise(sql.GroupAdministration)
		if feature == sql.FeatureForeignServer {
			c.credential()
		}
	case own && f.Name == "set_config":
		c.setConfig()
	case f.Schema == "information_schema" && f.Name == expandArray:
	case own && quietWrites[f.Name]:
		c.raise(sql.GroupWrite)
	case own && (pureFunctions[f.Name] || stableFunctions[f.Name] || volatileReads[f.Name] || laterReads[f.Name]):
	default:
		c.feature(sql.FeatureFunctionCall)
		c.raise(sql.GroupWrite)
	}
}

// attribute notes x.f: a column, or the call f(x) in the notation that the server takes
// for it. By the name of a function that is no reading it is taken for the call.
func (c *classifier) attribute(name string) {
	if !slices.Contains(c.facts.Attributes, name) {
		c.facts.Attributes = append(c.facts.Attributes, name)
	}
	if strings.HasPrefix(name, "lo_") && !largeObjectCalls[name] {
		return
	}
	if dangers(name) != "" || quietWrites[name] {
		c.function([]string{name})
	}
}

// largeObjectCalls are the lo_ functions of one argument. Columns have such names, too.
var largeObjectCalls = words("lo_import lo_get lo_unlink lo_creat lo_create lo_close lo_tell lo_tell64")
