"""Several nodes: what is published at one reaches subscribers of the others, once."""

import time
import unittest

import mqtt
from bus_case import ClusterCase
from mqtt import PUBLISH, V5


class Live(ClusterCase):
    n_nodes = 3

    def test_every_qos_arrives_once_on_each_node(self):
        t = self.topic('x')
        subs = [self.subscriber(i, t, qos=2) for i in range(3)]
        pub = self.client(0, 'pub')
        for qos in (0, 1, 2):
            pub.publish(t, f'q{qos}', qos=qos)
        pub.publish(t, 'end')
        for c in subs:
            got = [c.wait(PUBLISH) for _ in range(4)]
            self.assertEqual(sorted(p.payload for p in got), [b'end', b'q0', b'q1', b'q2'])
            self.assertEqual({p.payload: p.qos for p in got},
                             {b'q0': 0, b'q1': 1, b'q2': 2, b'end': 0})
            c.ping()
        self.nothing_more(subs)

    def nothing_more(self, subs):
        """A mark that each node sends comes next."""
        for i, pub in enumerate(self.client(i, f'end{i}') for i in range(3)):
            for c in subs:
                mark = self.topic('mark', str(i))
                c.subscribe(mark)
            for k in range(3):
                self.known(k)
            pub.publish(self.topic('mark', str(i)), 'mark')
            for c in subs:
                self.assertEqual(c.wait(PUBLISH).payload, b'mark')

    def test_properties_cross(self):
        t = self.topic('x')
        c = self.subscriber(1, t)
        pub = self.client(0, 'pub')
        props = {'content_type': 'text/x', 'message_expiry_interval': 100, 'response_topic': 'r',
                 'user_property': [('a', 'b')]}
        pub.publish(t, b'p', props=props)
        got = c.expect(PUBLISH)
        self.assertEqual(got.props['content_type'], 'text/x')
        self.assertEqual(got.props['response_topic'], 'r')
        self.assertIn(got.props['message_expiry_interval'], (99, 100))
        self.assertEqual(got.user, [('a', 'b')])

    def test_overlapping_filters_get_it_once_per_node(self):
        t = self.topic('x')
        c = self.subscriber(1, t, self.topic('+'), self.topic('#'))
        self.client(0, 'pub').publish(t, 'one')
        self.assertEqual(c.expect(PUBLISH).payload, b'one')
        self.client(2, 'pub').publish(t, 'two')
        self.assertEqual(c.expect(PUBLISH).payload, b'two')

    def test_a_puback_says_whether_anybody_gets_it(self):
        t = self.topic('x')
        pub = self.client(0, 'pub')
        self.assertEqual(pub.publish(t, qos=1), 0x10)
        self.subscriber(1, t)
        self.assertEqual(pub.publish(t, qos=1), 0)

    def test_unsubscribing_ends_the_interest(self):
        t = self.topic('x')
        c = self.subscriber(1, t)
        pub = self.client(0, 'pub')
        self.assertEqual(pub.publish(t, qos=1), 0)
        c.unsubscribe(t)
        self.until(lambda: pub.publish(t, qos=1) == 0x10, 'still interested')

    def test_order_of_one_publisher_holds(self):
        t = self.topic('x')
        c = self.subscriber(2, t, qos=1)
        pub = self.client(0, 'pub')
        pub.send(*[mqtt.publish(t, str(i), 1, i + 1) for i in range(500)])
        self.assertEqual([int(c.expect(PUBLISH).payload) for _ in range(500)], list(range(500)))

    def test_sys_does_not_cross(self):
        c = self.subscriber(1, '$SYS/broker/uptime', '$other/#')
        c.drain()
        self.assertEqual(self.client(0, 'pub').publish('$other/x', qos=1), 0x87)

    def test_a_large_message_crosses(self):
        t = self.topic('x')
        c = self.subscriber(1, t)
        self.client(0, 'pub').publish(t, b'x' * 3000000)
        self.assertEqual(len(c.expect(PUBLISH).payload), 3000000)

    def test_a_will_crosses(self):
        t = self.topic('will')
        c = self.subscriber(1, t)
        dying = self.client(0, 'dying', will=mqtt.Will(t, b'gone', 1))
        dying.abort()
        self.assertEqual(c.expect(PUBLISH).payload, b'gone')

    def test_a_durable_session_is_served_by_its_node(self):
        t = self.topic('x')
        props = {'session_expiry_interval': 100}
        c = self.subscriber(1, t, name='durable', qos=1, props=props)
        c.disconnect()
        pub = self.client(0, 'pub')
        for i in range(5):
            self.assertEqual(pub.publish(t, str(i), qos=1), 0)
        self.known(1)
        c = self.client(1, 'durable1', clean=False, session_present=True, props=props)
        self.assertEqual([c.message().payload for _ in range(5)], [b'%d' % i for i in range(5)])
        c.disconnect(0, {'session_expiry_interval': 0})


class Retained(ClusterCase):
    n_nodes = 2

    def retained(self, node, topic):
        """The retained message of a topic, or None."""
        c = self.client(node, f'r{time.monotonic_ns() % 10**9}')
        mark = self.topic('mark', c.client_id)
        c.subscribe(topic, mark)
        c.publish(mark, b'')  # waits behind retained messages
        payload = None
        while (p := c.message()).topic != mark:
            payload = p.payload
        c.close()
        return payload

    def arrives(self, node, topic, payload):
        self.until(lambda: self.retained(node, topic) == payload,
                   f'{topic} at node {node} is not {payload!r}')

    def test_a_change_crosses_without_a_subscriber(self):
        t = self.topic('x')
        self.client(0, 'pub').publish(t, b'kept', qos=1, retain=True)
        self.arrives(1, t, b'kept')

    def test_a_deletion_crosses(self):
        t = self.topic('x')
        self.client(0, 'pub').publish(t, b'kept', qos=1, retain=True)
        self.arrives(1, t, b'kept')
        self.client(1, 'pub').publish(t, b'', qos=1, retain=True)
        self.arrives(0, t, None)

    def test_what_is_written_later_wins(self):
        t = self.topic('x')
        for i in range(10):
            self.client(i % 2, f'pub{i}').publish(t, b'%d' % i, qos=1, retain=True)
            self.arrives((i + 1) % 2, t, b'%d' % i)

    def test_subscribers_get_a_retained_message_live_and_once(self):
        t = self.topic('x')
        c = self.subscriber(1, t, qos=1)
        pub = self.client(0, 'pub')
        pub.publish(t, b'one', qos=1, retain=True)
        pub.publish(t, b'two', qos=1)
        self.assertEqual([c.expect(PUBLISH).payload for _ in range(2)], [b'one', b'two'])


class Shared(ClusterCase):
    n_nodes = 2

    def test_one_member_in_the_whole_cluster_gets_it(self):
        t = self.topic('x')
        key = f'$share/g/{t}'
        members = [self.subscriber(i, key, name=f'm{k}') for i in range(2) for k in range(2)]
        plain = self.subscriber(1, t, name='plain')
        pub = self.client(0, 'pub')
        for i in range(60):
            pub.publish(t, str(i))
        for i in range(60):
            self.assertEqual(plain.expect(PUBLISH).payload, b'%d' % i)
        pub.ping()
        self.known(1)
        got = []
        for c in members:
            c.send(mqtt.pingreq())
            while (p := c.recv()).type == PUBLISH:
                got.append((members.index(c), int(p.payload)))
        self.assertEqual(sorted(n for _, n in got), list(range(60)))
        self.assertEqual({i for i, _ in got}, {0, 1, 2, 3})

    def test_the_node_that_has_a_member_gets_it(self):
        t = self.topic('x')
        c = self.subscriber(1, f'$share/g/{t}')
        pub = self.client(0, 'pub')
        for i in range(5):
            self.assertEqual(pub.publish(t, str(i), qos=1), 0)
            self.assertEqual(c.expect(PUBLISH).payload, b'%d' % i)

    def test_two_groups_at_one_node_get_it_each(self):
        t = self.topic('x')
        a = self.subscriber(1, f'$share/a/{t}', name='a')
        b = self.subscriber(1, f'$share/b/{t}', name='b')
        self.client(0, 'pub').publish(t, b'both')
        self.assertEqual(a.expect(PUBLISH).payload, b'both')
        self.assertEqual(b.expect(PUBLISH).payload, b'both')

    def test_a_connected_member_far_away_is_preferred_to_an_absent_one_here(self):
        t = self.topic('x')
        props = {'session_expiry_interval': 100}
        absent = self.subscriber(0, f'$share/g/{t}', name='absent', qos=1, props=props)
        there = self.subscriber(1, f'$share/g/{t}', name='there', qos=1)
        absent.disconnect()
        pub = self.client(0, 'pub')
        for i in range(6):
            pub.publish(t, str(i), qos=1)
            self.assertEqual(there.expect(PUBLISH).payload, b'%d' % i)
        self.client(0, 'absent0').disconnect()


class Takeover(ClusterCase):
    n_nodes = 2

    def test_the_connection_made_last_stays(self):
        first = self.client(0, 'same')
        self.known(0)  # within one millisecond two nodes cannot tell which was later
        second = self.client(1, 'same')
        first.expect_close(0x8E, required=True)
        third = self.client(0, 'same')
        second.expect_close(0x8E, required=True)
        third.ping()

    def test_a_client_that_comes_back_at_once_is_left_alone(self):
        c = self.client(0, 'same')
        self.known(0)
        for i in range(1, 10):
            before, c = c, self.client(i % 2, 'same')
            before.expect_close(0x8E, required=True)
        self.known(0)
        self.known(1)
        c.ping()


class Second(ClusterCase):
    n_nodes = 2
    options = {'bus_takeover': 'second'}

    def test_both_stay(self):
        first = self.client(0, 'same')
        self.known(0)  # within one millisecond two nodes cannot tell which was later
        second = self.client(1, 'same')
        self.known(0)
        self.known(1)
        first.ping()
        second.ping()


if __name__ == '__main__':
    unittest.main()
