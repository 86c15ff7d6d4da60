"""The safeguards that `tests.mutations` breaks, each with the test that has to notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CLOUD = "tune_app/cloud"
TESTS = "tests/tune_app/cloud"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A text of a file that is replaced, and the test that has to fail then."""

    name: str
    path: str
    old: str
    new: str
    test: str
    also: tuple[str, str] = ("", "")
    """A second text and what replaces it, where a safeguard is a double one."""

    def applied(self, text: str) -> str:
        """Raises ValueError where the text does not occur exactly once: it was changed."""
        for old, new in ((self.old, self.new), self.also):
            if old and text.count(old) != 1:
                raise ValueError(
                    f"the mutation {self.name!r} looks for {old!r} in {self.path}, which has it "
                    f"{text.count(old)} times: bring it up to the code"
                )
            text = text.replace(old, new) if old else text
        return text


MUTATIONS: Sequence[Mutation] = (
    Mutation(
        name="requests in flight are not counted as rented",
        path=f"{CLOUD}/renting/money.py",
        old="workers=len(live) + len(under_way)",
        new="workers=len(live)",
        test=f"{TESTS}/renting/test_cap.py::test_a_pending_request_counts_as_rented",
    ),
    Mutation(
        name="the list is not limited to the own label",
        path=f"{CLOUD}/renting/rented_machines.py",
        old="labelled=prefix(self._settings.cluster)",
        new='labelled=""',
        also=("label is not None and label.may_be_of(self._settings.cluster, self._head)", "True"),
        test=f"{TESTS}/renting/test_cap.py::test_at_the_cap_another_clusters_workers_stay",
    ),
    Mutation(
        name="total_instances is ignored",
        path=f"{CLOUD}/vast/client.py",
        old="if total is not None and len(found) < total:",
        new="if False:",
        test=f"{TESTS}/vast/test_client.py::test_a_list_shorter_than_it_announces_is_no_list",
    ),
    Mutation(
        name="the firewall is not started at install",
        path=f"{CLOUD}/head/install.py",
        old="for name in AT_ONCE:",
        new="for name in AT_ONCE[1:]:",
        test=f"{TESTS}/head/test_calls.py::test_the_firewall_is_started",
    ),
    Mutation(
        name="the account's key is readable by all",
        path=f"{CLOUD}/head/start.py",
        old='write_file(path, key.reveal() + "\\n", mode=0o600)',
        new='write_file(path, key.reveal() + "\\n", mode=0o644)',
        test=f"{TESTS}/head/test_calls.py::test_only_root_reads_the_key",
    ),
    Mutation(
        name="release without its last look",
        path=f"{CLOUD}/head/release.py",
        old="            _check_empty()",
        new="            pass",
        test=f"{TESTS}/head/test_calls.py::test_a_head_is_not_released_while_something_is_rented",
    ),
    Mutation(
        name="another cluster's workers are not refused",
        path=f"{CLOUD}/head/install.py",
        old="    refuse_other_clusters(head_paths.CLOUD_STATE",
        new="    (lambda *_, **__: None)(head_paths.CLOUD_STATE",
        test=f"{TESTS}/head/test_calls.py::test_another_cluster_is_refused_before_anything_changes",
    ),
    Mutation(
        name="another account is not refused",
        path=f"{CLOUD}/head/start.py",
        old="        _refuse_other_account(settings, key, market)\n",
        new="",
        test=f"{TESTS}/head/test_calls.py::test_another_account_is_refused_before_its_key_is_kept",
    ),
    Mutation(
        name="destroy is skipped",
        path=f"{CLOUD}/renting/returning.py",
        old="            self._market.destroy(contract)\n",
        new="            pass\n",
        test=f"{TESTS}/renting/test_cap.py::test_where_nobody_asks_for_the_list_everything_ends",
    ),
    Mutation(
        name="hours that a wrong clock hid are not counted",
        path=f"{CLOUD}/ledger/hours.py",
        old="        hours += unseen if unseen > UNSEEN_HOURS else 0.0\n",
        new="        hours += 0.0 * unseen\n",
        also=(
            "max(now, known.counted_to) if started is None else now",
            "max(now, known.counted_to)",
        ),
        test=f"{TESTS}/renting/test_rented_machines.py::"
        "test_a_wrong_clock_of_the_head_loses_no_dollar",
    ),
    Mutation(
        name="without a ledger another head's workers are destroyed",
        path=f"{CLOUD}/daemon/ledgers.py",
        old="    return label is None or label.may_be_of(cluster, head)\n",
        new="    return True\n",
        test=f"{TESTS}/daemon/test_damaged_ledger.py::"
        "test_where_no_ledger_can_be_written_another_heads_workers_stay",
    ),
    Mutation(
        name="the cap is ignored",
        path=f"{CLOUD}/renting/budget.py",
        old="        return self.cap - self.spent\n",
        new="        return 1e9\n",
        test=f"{TESTS}/renting/test_cap.py::test_a_higher_cap_ends_the_drain_and_workers_come_back",
    ),
    Mutation(
        name="nothing is reserved to end everything",
        path=f"{CLOUD}/renting/budget.py",
        old="per_hour * (self.unable_s + workers * self.destroy_s) / 3600 if workers else 0.0",
        new="0.0",
        test=f"{TESTS}/renting/test_cap.py::test_never_more_than_the_cap_is_billed",
    ),
    Mutation(
        name="old billing data are good enough",
        path=f"{CLOUD}/renting/billing.py",
        old="if age <= self._patience.charges_stale:",
        new="if True:",
        test=f"{TESTS}/renting/test_cap.py"
        "::test_nothing_is_rented_on_billing_data_older_than_an_hour",
    ),
    Mutation(
        name="a failed list is read as empty",
        path=f"{CLOUD}/vast/client.py",
        old='        raise OddAnswerError(f"the API\'s answer has no list of {name}")',
        new="        return []",
        test=f"{TESTS}/vast/test_client.py::test_an_odd_list_raises_and_is_never_an_empty_one",
    ),
    Mutation(
        name="the label's check is dropped",
        path=f"{CLOUD}/renting/verdicts.py",
        old="label is None or not label.may_be_of(cluster, head)",
        new="label is None",
        test=f"{TESTS}/renting/test_verdicts.py::test_what_is_not_ours_is_never_touched",
    ),
    Mutation(
        name="the key is not revoked",
        path=f"{CLOUD}/renting/returning.py",
        old="                self._revoke(k)\n",
        new="                pass\n",
        test=f"{TESTS}/renting/test_rented_machines.py::test_an_outbid_one_is_destroyed",
    ),
    Mutation(
        name="the drain is not sent",
        path=f"{CLOUD}/daemon/daemon.py",
        old="        if drain is None:\n            return DrainOrder(",
        new="        if True:\n            return DrainOrder(",
        test=f"{TESTS}/daemon/test_alerts.py::test_a_driver_hears_of_the_drain_and_of_the_alert",
    ),
    Mutation(
        name="the heartbeat is never sent",
        path=f"{CLOUD}/daemon/daemon.py",
        old="            self._feed_workers()\n",
        new="            pass\n",
        test=f"{TESTS}/daemon/test_alerts.py"
        "::test_a_revoked_key_is_told_to_person_journal_and_driver",
    ),
    Mutation(
        name="the price's check is dropped",
        path=f"{CLOUD}/renting/verdicts.py",
        old="> agreed * (1 + tolerance):",
        new="> 1e9:",
        test=f"{TESTS}/renting/test_verdicts.py"
        "::test_another_price_or_kind_is_destroyed_and_the_machine_avoided",
    ),
    Mutation(
        name="the storage's charge is left out",
        path=f"{CLOUD}/ledger/hours.py",
        old="        + existing * known.storage_per_hour,",
        new="        + 0.0,",
        test=f"{TESTS}/ledger/test_ledger.py",
    ),
    Mutation(
        name="a damaged ledger is taken for a whole one",
        path=f"{CLOUD}/ledger/file.py",
        old="        _check(connection, path)\n        _make",
        new="        _make",
        test=f"{TESTS}/daemon/test_damaged_ledger.py",
    ),
    Mutation(
        name="whether the key sees the charges is not tried",
        path=f"{CLOUD}/head/start.py",
        old="    lines = _try_charges(market)\n",
        new="    lines: list[str] = []\n",
        test=f"{TESTS}/head/test_accounts.py::test_a_key_that_may_not_see_the_charges_is_refused",
    ),
    Mutation(
        name="a key that may not see the account rents nothing",
        path=f"{CLOUD}/renting/billing.py",
        old="        except MissingScopeError as error:",
        new="        except MissingScopeError as error:\n            raise",
        test=f"{TESTS}/renting/test_rented_machines.py"
        "::test_a_key_that_may_not_see_the_account_rents_by_the_two_other_counts",
    ),
    Mutation(
        name="what an earlier head spent is forgotten",
        path=f"{CLOUD}/renting/billing.py",
        old="incomplete = bool(lost) or not rentals",
        new="incomplete = bool(lost)",
        test=f"{TESTS}/renting/test_rented_machines.py"
        "::test_a_new_head_knows_what_the_cluster_has_spent",
    ),
    Mutation(
        name="of what an earlier head spent the last days alone are asked for again",
        path=f"{CLOUD}/renting/billing.py",
        old="if incomplete or any(rental.by_charges_alone for rental in rentals):",
        new="if incomplete:",
        test=f"{TESTS}/renting/test_rented_machines.py"
        "::test_a_new_head_knows_what_the_cluster_has_spent",
    ),
    Mutation(
        name="the daemon goes by the head's clock",
        path=f"{CLOUD}/daemon/daemon.py",
        old="open_market(settings.access, key, heard=clock.heard)",
        new="open_market(settings.access, key)",
        test=f"{TESTS}/daemon/test_daemon.py"
        "::test_a_head_whose_clock_is_a_day_ahead_counts_by_the_markets",
    ),
    Mutation(
        name="a driver's question counts as the autoscaler's",
        path=f"{CLOUD}/renting/drains.py",
        old="        return self.current()\n\n    def driver_saved",
        new="        self.asked()\n        return self.current()\n\n    def driver_saved",
        test=f"{TESTS}/daemon/test_alerts.py::test_what_is_not_for_the_autoscaler_keeps_no_worker",
    ),
    Mutation(
        name="the new firewall is not on trial",
        path=f"{CLOUD}/head/install.py",
        old="    begin_trial(rules)\n",
        new="",
        test=f"{TESTS}/head/test_calls.py::test_new_rules_are_on_trial_before_they_are_loaded",
    ),
    Mutation(
        name="the new firewall is confirmed without a login",
        path=f"{CLOUD}/head/bring_up.py",
        old="    confirm(shell)\n",
        new="",
        test=f"{TESTS}/head/test_calls.py::test_a_login_confirms_the_rules_before_anything_starts",
    ),
    Mutation(
        name="ray down frees nothing of the account's total",
        path=f"{CLOUD}/autoscaling/teardown.py",
        old="                set_free(Path.home(), self._cluster, self._spent)\n",
        new="",
        test=f"{TESTS}/test_provider.py"
        "::test_ray_down_ends_every_worker_and_releases_the_head_after_two_empty_looks",
    ),
    Mutation(
        name="a later ray down forgets what was spent",
        path=f"{CLOUD}/secrets/account_total.py",
        old="spent=max(spent, share.known)",
        new="spent=spent",
        test=f"{TESTS}/head_machine/test_without_head.py"
        "::test_ray_down_of_a_head_that_was_released_forgets_no_dollar",
    ),
    Mutation(
        name="a step that hangs is waited for",
        path="tune_app/on_ray/trainable.py",
        old='        with HangWatchdog(self._config["hang_s"]):\n            return self._step()\n',
        new="        return self._step()\n",
        test="tests/tune_app/on_ray/test_hang_watchdog.py"
        "::test_a_trial_that_hangs_on_its_gpu_ends_its_process",
    ),
    Mutation(
        name="the total of the account is not asked",
        path=f"{CLOUD}/head/bring_up.py",
        old="    set_aside(home or Path.home(), settings.cluster, settings.rented.cap_dollars)\n",
        new="",
        test=f"{TESTS}/head/test_calls.py::test_a_cap_over_the_account_s_total_is_refused_first",
    ),
    Mutation(
        name="a link that came back is taken for a whole one",
        path=f"{CLOUD}/overlay/verdicts.py",
        old="if link.was_closed > patience.broken:",
        new="if False:",
        test=f"{TESTS}/overlay/test_verdicts.py::test_one_link_that_was_closed_and_came_back",
    ),
    Mutation(
        name="the test for orphans is inverted",
        path=f"{CLOUD}/renting/orphans.py",
        old="    if instance.id in owner.contracts or",
        new="    if instance.id not in owner.contracts or",
        test=f"{TESTS}/head_machine/test_without_head.py"
        "::test_beside_a_living_cluster_only_orphans_end",
    ),
    Mutation(
        name="what another head owns is an orphan",
        path=f"{CLOUD}/renting/orphans.py",
        old="if owner is None or not label.may_be_of(cluster, owner.head):",
        new="if owner is None:",
        test=f"{TESTS}/head_machine/test_without_head.py"
        "::test_beside_a_living_cluster_only_orphans_end",
    ),
    Mutation(
        name="the dead man's switch takes any answer for a heartbeat",
        path=f"{CLOUD}/overlay/dead_mans_switch.sh",
        old="*) [ $((asked - age)) -le $heard ] || heard=$((asked - age)) ;;",
        new="*) heard=$asked ;;",
        test=f"{TESTS}/overlay/test_dead_mans_switch.py"
        "::test_a_heartbeat_keeps_it_and_an_old_one_does_not",
    ),
    Mutation(
        name="a worker's start script has no switch",
        path=f"{CLOUD}/overlay/worker_script.py",
        old="    first = filled(switch(ending), values)\n",
        new='    first = ""\n',
        test=f"{TESTS}/overlay/test_worker_script.py::test_the_switch_is_the_first_thing_it_starts",
    ),
    Mutation(
        name="anybody's ring is heard",
        path=f"{CLOUD}/overlay/keeper.py",
        old="if self._ringer is not None and",
        new="if False and",
        test=f"{TESTS}/overlay/test_keeper.py::test_a_bell_that_another_user_rings_is_not_heard",
    ),
    Mutation(
        name="a symbolic link is fetched as root",
        path=f"{CLOUD}/head_machine/fetch_results.py",
        old="""[ "$(pwd -P)" = "$0" ]""",
        new="true",
        test=f"{TESTS}/head_machine/test_fetch_results.py"
        "::test_a_link_in_a_folders_place_is_not_followed",
    ),
    Mutation(
        name="the firewall is not rolled back",
        path=f"{CLOUD}/head/firewall_trial.py",
        old="  nft delete table inet stellux\n",
        new="  :\n",
        test=f"{TESTS}/head/test_firewall_trial.py::test_rules_that_nobody_confirms_are_undone",
    ),
    Mutation(
        name="the firewall lets IPv6 in",
        path=f"{CLOUD}/head/firewall.py",
        old='        iifname "lo" accept\n',
        new='        iifname "lo" accept\n        meta nfproto ipv6 accept\n',
        test=f"{TESTS}/head/test_units.py::test_the_firewall_lets_ssh_in_and_nothing_else",
    ),
)
