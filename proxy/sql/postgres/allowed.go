package postgres

import "github.com/cardea-dev/cardea/proxy/sql"

// What a statement on a target with masks may use. These lists are short on purpose: what
// is not on them is denied, and can be added once somebody has looked at what it shows.

// visibleCatalogs are catalog relations that hold definitions and show no values of rows,
// no statements of other sessions and no secrets.
var visibleCatalogs = words(`
	pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_auth_members pg_available_extensions pg_cast pg_class pg_collation
	pg_constraint pg_conversion pg_database pg_default_acl pg_depend pg_description pg_enum pg_event_trigger pg_extension
	pg_db_role_setting pg_foreign_data_wrapper pg_foreign_server pg_foreign_table pg_index pg_indexes pg_inherits pg_init_privs pg_language pg_largeobject_metadata pg_matviews pg_namespace
	pg_opclass pg_operator pg_opfamily pg_partitioned_table pg_policies pg_policy pg_proc pg_publication pg_publication_namespace
	pg_publication_rel pg_publication_tables pg_range pg_rewrite pg_roles pg_rules pg_sequence pg_sequences pg_settings pg_shdescription
	pg_statistic_ext pg_subscription pg_tables pg_tablespace pg_timezone_abbrevs pg_timezone_names pg_trigger pg_ts_config pg_ts_config_map pg_ts_dict
	pg_ts_parser pg_ts_template pg_type pg_views pg_parameter_acl pg_group pg_shdepend
	pg_seclabel pg_seclabels pg_shseclabel
	pg_locks pg_stat_activity pg_stat_gssapi pg_stat_ssl pg_stat_user_indexes pg_stat_user_tables
	applicable_roles character_sets check_constraints collations column_domain_usage column_privileges column_udt_usage columns
	constraint_column_usage constraint_table_usage domain_constraints domains enabled_roles element_types information_schema_catalog_name
	key_column_usage parameters referential_constraints role_column_grants role_table_grants routine_privileges routines schemata sequences
	sql_features table_constraints table_privileges tables triggers triggered_update_columns usage_privileges view_column_usage
	view_table_usage views`)

// hiddenColumns are columns of those relations that do hold values, and are shown as NULL: the
// stored default of an added column is the value of every older row; statements of others have
// constants; keys of advisory locks may be made of values, and the pages of locks tell where
// in an index a value is; an update keeps a row in its place among the indexes only where no indexed
// value changes, and these counters tell which did. Or credentials: a subscription's connection string.
var hiddenColumns = words(`pg_attribute.attmissingval pg_subscription.subconninfo pg_stat_activity.query
	pg_stat_user_tables.n_tup_hot_upd pg_stat_user_tables.n_tup_newpage_upd
	pg_locks.page pg_locks.tuple pg_locks.classid pg_locks.objid pg_locks.objsubid`)

// visibleReads are functions that read the session or definitions and show no values of
// rows; functions that depend on their arguments alone need no list.
var visibleReads = words(`
	age anytextcat array_to_json array_to_string col_description concat concat_ws convert convert_from convert_to current_database current_schema
	current_schemas current_setting current_user date date_part date_trunc enum_first enum_last enum_range extract format format_type
	generate_series get_current_ts_config getdatabaseencoding has_any_column_privilege has_column_privilege has_database_privilege
	has_foreign_data_wrapper_privilege has_function_privilege has_language_privilege has_schema_privilege has_sequence_privilege
	has_server_privilege has_table_privilege has_tablespace_privilege has_type_privilege has_parameter_privilege inet_client_addr
	inet_client_port inet_server_addr inet_server_port json_agg json_build_array json_build_object json_object_agg json_to_tsvector
	jsonb_agg jsonb_build_array jsonb_build_object jsonb_object_agg jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_array_tz
	jsonb_path_query_first_tz jsonb_path_query_tz jsonb_to_tsvector length make_timestamptz mxid_age now obj_description overlaps
	pg_backend_pid pg_char_to_encoding pg_client_encoding pg_collation_for pg_collation_is_visible pg_column_size pg_conf_load_time
	pg_conversion_is_visible pg_current_snapshot pg_current_xact_id pg_current_xact_id_if_assigned pg_describe_object pg_encoding_to_char
	pg_function_is_visible pg_get_constraintdef pg_get_expr pg_get_function_arg_default pg_get_function_arguments
	pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef pg_get_keywords pg_get_partition_constraintdef pg_get_partkeydef
	pg_get_publication_tables pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef_columns pg_get_triggerdef pg_get_userbyid
	pg_get_viewdef pg_has_role pg_is_other_temp_schema pg_my_temp_schema pg_opclass_is_visible pg_operator_is_visible
	pg_opfamily_is_visible pg_options_to_table pg_postmaster_start_time pg_relation_is_publishable pg_relation_is_updatable
	pg_column_is_updatable pg_statistics_obj_is_visible pg_table_is_visible pg_tablespace_location pg_trigger_depth
	pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible pg_typeof
	phraseto_tsquery plainto_tsquery quote_literal quote_nullable regclass row_security_active session_user shobj_description
	statement_timestamp textanycat time timestamp timestamptz timetz timezone to_char to_date to_json to_jsonb to_number to_regclass
	to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole to_regtype to_timestamp to_tsquery
	to_tsvector transaction_timestamp ts_headline txid_current txid_current_if_assigned txid_current_snapshot version websearch_to_tsquery
	aclexplode row_to_json json_to_record json_to_recordset jsonb_to_record jsonb_to_recordset numeric money ts_token_type
	pg_blocking_pids pg_get_statisticsobjdef pg_index_column_has_property pg_index_has_property pg_indexam_has_property pg_relation_filenode
	pg_relation_filepath pg_show_all_settings
	random clock_timestamp timeofday gen_random_uuid nextval setval currval lastval pg_is_in_recovery pg_sleep pg_relation_size pg_table_size
	pg_total_relation_size pg_indexes_size pg_database_size pg_tablespace_size pg_partition_tree pg_partition_ancestors
	date_add date_subtract json_agg_strict json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict jsonb_agg_strict
	random_normal array_sample array_shuffle uuidv4 uuidv7 to_regtypemod pg_basetype pg_get_acl has_largeobject_privilege`)

// expandArray is the one function of information_schema that clients call: JDBC asks for
// primary keys with it. It makes a row with the fields n and x of each element.
const expandArray = "_pg_expandarray"

var expandedFields = words("n x")

// hiddenPure are functions that depend on their arguments alone by their declaration and
// yet are not for statements on masked columns' targets.
var hiddenPure = words("ts_rewrite xpath_table")

// usable reports whether a function may be called on a target with masks.
func (t *tracer) usable(name string) bool { return usable(name, t.names.major()) }

func usable(name string, major int) bool {
	if absentFunctions[major][name] || hiddenPure[name] {
		return false
	}
	d := dangers(name)
	return d == sql.FeatureAdvisoryLock || d == "" && (pureFunctions[name] || visibleReads[name])
}

// plainTypes are the built-in types that a statement may cast to.
var plainTypes = words(`bool int2 int4 int8 float4 float8 numeric money text varchar bpchar char name bytea date time timetz timestamp timestamptz
	interval uuid json jsonb jsonpath xml bit varbit inet cidr macaddr macaddr8 point line lseg box path polygon circle oid regclass regtype
	regproc regprocedure regoper regoperator regnamespace regrole regconfig regdictionary regcollation xid xid8 cid tid pg_lsn tsvector tsquery
	int4range int8range numrange tsrange tstzrange daterange int4multirange int8multirange nummultirange tsmultirange tstzmultirange
	datemultirange int2vector oidvector pg_node_tree aclitem record _text _int2 _int4 _int8 _oid _varchar _bpchar _name _bool _float8 _numeric
	_uuid _timestamptz _timestamp _date _jsonb _json _char _aclitem smallint integer bigint real decimal boolean`)

// plainSettings are settings that a session on a target with masks may change: they alter
// neither how statements are read nor what names mean nor what anybody may see.
var plainSettings = words(`application_name bytea_output client_min_messages constraint_exclusion cpu_tuple_cost cursor_tuple_fraction datestyle
	default_statistics_target default_tablespace default_transaction_deferrable default_transaction_isolation default_transaction_read_only effective_cache_size enable_bitmapscan
	enable_async_append enable_gathermerge enable_incremental_sort enable_parallel_append enable_parallel_hash enable_partition_pruning
	enable_partitionwise_aggregate enable_partitionwise_join enable_tidscan escape_string_warning hash_mem_multiplier max_parallel_maintenance_workers
	max_parallel_workers parallel_setup_cost parallel_tuple_cost synchronous_commit
	enable_hashagg enable_hashjoin enable_indexonlyscan enable_indexscan enable_material enable_memoize enable_mergejoin enable_nestloop
	enable_seqscan enable_sort extra_float_digits from_collapse_limit geqo idle_in_transaction_session_timeout idle_session_timeout
	intervalstyle jit jit_above_cost join_collapse_limit lc_monetary lc_numeric lc_time lock_timeout maintenance_work_mem max_parallel_workers_per_gather
	plan_cache_mode random_page_cost seq_page_cost statement_timeout temp_buffers timezone transaction_deferrable transaction_isolation transaction_read_only transaction_timeout work_mem
	xmloption`)

// rowFunctions are the functions that may stand in FROM, with the names of their columns
// and an empty name for the alias or the function's own.
var rowFunctions = map[string][]string{
	"generate_series": {""}, "unnest": {""}, "generate_subscripts": {""}, "regexp_split_to_table": {""}, "string_to_table": {""}, "regexp_matches": {""},
	"json_array_elements": {"value"}, "jsonb_array_elements": {"value"}, "json_array_elements_text": {"value"}, "jsonb_array_elements_text": {"value"},
	"json_each": {"key", "value"}, "jsonb_each": {"key", "value"}, "json_each_text": {"key", "value"}, "jsonb_each_text": {"key", "value"},
	"json_object_keys": {""}, "jsonb_object_keys": {""}, "jsonb_path_query": {""}, "string_to_array": {""}, "current_schemas": {""}, "current_setting": {""}, "now": {""},
	"version": {""}, "current_database": {""}, "pg_options_to_table": {"option_name", "option_value"},
	"aclexplode":    {"grantor", "grantee", "privilege_type", "is_grantable"},
	"ts_token_type": {"tokid", "alias", "description"},
	"pg_show_all_settings": {"name", "setting", "unit", "category", "short_desc", "extra_desc", "context", "vartype", "source", "min_val", "max_val", "enumvals",
		"boot_val", "reset_val", "sourcefile", "sourceline", "pending_restart"},
	"pg_get_keywords":   {"word", "catcode", "barelabel", "catdesc", "baredesc"},
	"pg_partition_tree": {"relid", "parentrelid", "isleaf", "level"}, "pg_partition_ancestors": {"relid"},
}

// rowColumns returns the columns of a function in FROM as rowFunctions does.
func rowColumns(name string, major int) []string {
	switch {
	case name != "pg_get_publication_tables":
		return rowFunctions[name]
	case major == 14:
		return []string{"relid"}
	case major == 15:
		return []string{"relid", "attrs", "qual"}
	default:
		return []string{"pubid", "relid", "attrs", "qual"}
	}
}

// recordFunctions are the functions that may stand in FROM with a list of column
// definitions.
var recordFunctions = words("json_to_record json_to_recordset jsonb_to_record jsonb_to_recordset")
