"""No setting without a test of what it does: the table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from convex_messaging_fastapi import MessagingSettings
from tests.console.security import test_tokens
from tests.operations import test_listing
from tests.settings import test_contradictions
from tests.settings.effects import (
    test_access,
    test_consuming,
    test_hostile,
    test_membership,
    test_publishing,
    test_topics,
    test_waiting,
)
from tests.transport.kafka.engine.batches import test_bombs
from tests.transport.kafka.engine.connections import (
    test_connecting,
    test_pass_phrases,
    test_renewing,
    test_security,
)

Test = Callable[..., Any]

LET_IN = test_access.test_with_all_of_them_right_a_bus_publishes_handles_and_buries
KEPT_OUT = test_access.test_with_one_of_them_wrong_it_is_kept_out_and_says_so
NO_CERTIFICATE = test_access.test_without_the_clients_certificate_and_its_key_it_is_kept_out
BROKEN = test_consuming.test_breaker_and_its_numbers_are_those_of_every_subscriber_that_says_nothing_of_it
MADE = test_topics.test_create_topics_makes_what_is_read_what_is_written_and_what_is_read_later

OF_DOTNET: Mapping[str, tuple[Test, ...]] = {
    "bootstrap_servers": (
        test_topics.test_bootstrap_servers_may_name_several_and_one_that_answers_is_enough,
        test_topics.test_bootstrap_servers_may_be_in_memory_private_or_shared_by_name,
    ),
    "security_protocol": (LET_IN, KEPT_OUT),
    "sasl_mechanism": (LET_IN, KEPT_OUT),
    "sasl_username": (LET_IN, KEPT_OUT),
    "sasl_password": (LET_IN, KEPT_OUT),
    "ssl_ca_location": (LET_IN, KEPT_OUT),
    "topic_prefix": (test_consuming.test_topic_prefix_stands_before_every_topic_and_the_dead_letters,),
    "consumer_group": (
        test_consuming.test_consumer_group_is_the_name_under_which_offsets_are_committed,
        test_membership.test_client_id_and_consumer_group_are_what_the_coordinator_calls_a_member,
    ),
    "auto_offset_reset": (test_consuming.test_auto_offset_reset_is_where_a_new_group_begins,),
    "enable_auto_commit": (test_consuming.test_enable_auto_commit_false_commits_as_soon_as_work_is_finished,),
    "auto_commit_interval_ms": (
        test_consuming.test_auto_commit_interval_ms_is_how_long_finished_work_waits_to_be_committed,
    ),
    "session_timeout_ms": (test_membership.test_group_instance_id_keeps_a_place_for_session_timeout_ms,),
    "request_timeout_ms": (test_publishing.test_request_timeout_ms_is_how_long_a_broker_may_take_to_answer,),
    "max_retry_attempts": (test_consuming.test_max_retry_attempts_is_the_number_of_tries_before_the_burial,),
    "retry_delay_seconds": (test_consuming.test_retry_delay_seconds_is_the_first_wait_and_doubles,),
    "message_retention_ms": (
        MADE,
        test_topics.test_what_is_left_open_is_the_brokers_choice_and_a_week,
    ),
}

OURS: Mapping[str, tuple[Test, ...]] = {
    "group_instance_id": (test_membership.test_group_instance_id_keeps_a_place_for_session_timeout_ms,),
    "client_id": (test_membership.test_client_id_and_consumer_group_are_what_the_coordinator_calls_a_member,),
    "partitioner": (test_publishing.test_partitioner_decides_which_partition_a_key_belongs_to,),
    "queue_group": (test_consuming.test_queue_group_is_the_group_that_receivers_share,),
    "concurrency": (test_consuming.test_concurrency_is_how_many_messages_a_subscription_handles_at_once,),
    "max_uncommitted": (
        test_consuming.test_max_uncommitted_is_how_far_a_partition_is_handed_out_past_what_stands_still,
        test_consuming.test_max_uncommitted_half_finished_is_committed_before_the_interval,
    ),
    "publish_timeout_seconds": (
        test_waiting.test_publish_timeout_seconds_is_how_long_publish_waits_for_its_acknowledgement,
    ),
    "drain_timeout_seconds": (
        test_waiting.test_drain_timeout_seconds_is_what_running_handlers_get_when_the_bus_stops,
    ),
    "revoke_drain_seconds": (
        test_waiting.test_revoke_drain_seconds_is_what_running_handlers_get_when_partitions_move,
    ),
    "shutdown_timeout_seconds": (
        test_waiting.test_shutdown_timeout_seconds_bounds_a_stop_while_the_broker_is_away,
    ),
    "max_buffer_records": (test_consuming.test_max_buffer_records_is_how_many_a_worker_holds_in_memory,),
    "max_buffer_bytes": (test_consuming.test_max_buffer_bytes_is_how_many_bytes_a_worker_holds_in_memory,),
    "max_message_bytes": (
        test_publishing.test_max_message_bytes_is_how_large_a_message_may_be_that_is_published,
        test_hostile.test_max_message_bytes_is_how_large_a_message_may_be_that_is_decoded,
        test_hostile.test_a_letter_may_be_larger_than_the_message_that_it_is_about,
    ),
    "max_message_items": (
        test_hostile.test_max_message_items_is_how_many_members_a_message_may_have_that_is_decoded,
    ),
    "max_pending_bytes": (test_publishing.test_max_pending_bytes_is_how_much_may_wait_to_be_acknowledged,),
    "error_texts": (test_hostile.test_error_texts_false_tells_the_type_and_the_place_and_no_text,),
    "unreadable": (
        test_bombs.test_a_bomb_holds_up_its_partition_and_nothing_else,
        test_bombs.test_unreadable_bury_writes_a_letter_about_a_bomb_and_reads_on_behind_it,
    ),
    "breaker": (BROKEN,),
    "breaker_share": (BROKEN, test_consuming.test_breaker_share_is_of_the_latest_breaker_of_messages),
    "breaker_of": (BROKEN, test_consuming.test_breaker_share_is_of_the_latest_breaker_of_messages),
    "breaker_wait_seconds": (BROKEN,),
    "dead_letter_topics": (test_listing.test_letters_of_all_topics_that_are_named_are_listed,),
    "create_topics": (
        MADE,
        test_topics.test_without_create_topics_nothing_is_made_but_the_dead_letter_topic,
    ),
    "topic_partitions": (
        MADE,
        test_topics.test_what_is_left_open_is_the_brokers_choice_and_a_week,
    ),
    "replication_factor": (test_topics.test_replication_factor_is_how_many_copies_a_topic_has,),
    "ssl_certificate_location": (LET_IN, NO_CERTIFICATE),
    "ssl_key_location": (
        LET_IN,
        NO_CERTIFICATE,
        test_access.test_a_key_that_is_not_the_certificates_is_told_of,
    ),
    "ssl_key_password": (
        test_pass_phrases.test_ssl_key_password_opens_the_key,
        test_pass_phrases.test_without_the_right_one_a_sentence_says_so,
    ),
    "sasl_password_file": (
        test_renewing.test_a_password_is_read_again_at_every_login,
        test_security.test_a_password_changed_at_the_broker_and_in_its_file_is_taken_up,
    ),
    "ssl_key_password_file": (test_pass_phrases.test_ssl_key_password_file_opens_the_key,),
    "console_secret": (
        test_tokens.test_console_secret_lets_one_process_take_what_another_has_shown,
        test_tokens.test_a_secret_in_code_wins_over_that_of_the_settings,
    ),
    "allow_plaintext_credentials": (
        test_contradictions.test_credentials_go_unencrypted_to_no_other,
        test_connecting.test_an_advertised_address_gets_no_credentials_unless_the_network_may_see_them,
    ),
    "oauth_token_provider": (test_security.test_a_token_is_asked_for_whenever_one_is_needed,),
}


def test_every_setting_has_a_test_of_its_effect() -> None:
    assert [*OF_DOTNET, *OURS] == list(MessagingSettings.model_fields)
    assert len(OF_DOTNET) == 16
    tests = {test.__name__ for row in (*OF_DOTNET.values(), *OURS.values()) for test in row}
    assert not [name for name in tests if not name.startswith("test_")], "pytest would not run it"
