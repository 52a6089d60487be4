import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Asks for decisions and reports what visitors do from Java, with Kafka's own client and no library of ours; brokers,
 * the service's {@code prefix}, how many visits:
 *
 * <pre>java -cp kafka-clients.jar:slf4j-api.jar Shop.java 127.0.0.1:9092 "" 200</pre>
 *
 * Visitors click on boots nine times in ten and on a hat one time in ten; the printed {@code pmf} shows that it is
 * learned. The contract: docs/contract.md. The placement is called {@code front}, its streams {@code clicks} and
 * {@code leaves}, which both end the waiting, as in the settings of a fresh {@code bowerbird up}. A real shop reads
 * replies in a thread of its own and hands each to the caller that waits for its correlation id, as Spring's
 * ReplyingKafkaTemplate does: Bowerbird understands Spring's headers too. It also uses a JSON library.
 */
public class Shop {
    private static final Pattern CHOSEN = Pattern.compile("\"chosen\"\\s*:\\s*\"([^\"]*)\"");

    public static void main(String[] arguments) throws Exception {
        String brokers = arguments.length > 0 ? arguments[0] : "127.0.0.1:9092";
        String prefix = arguments.length > 1 ? arguments[1] : "";
        int visits = arguments.length > 2 ? Integer.parseInt(arguments[2]) : 1;
        String replyTopic = prefix + "replies.shop-java";
        Properties settings = new Properties();
        settings.putAll(Map.of("bootstrap.servers", brokers, "client.id", "shop", "acks", "all"));

        try (Admin admin = Admin.create(settings)) {
            if (!admin.listTopics().names().get().contains(replyTopic)) {
                admin.createTopics(List.of(new NewTopic(replyTopic, 1, (short) 1))).all().get();
            }
        }
        try (KafkaProducer<String, String> producer =
                        new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
                KafkaConsumer<String, String> replies =
                        new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            TopicPartition partition = new TopicPartition(replyTopic, 0);
            replies.assign(List.of(partition));
            replies.seekToEnd(List.of(partition));
            replies.position(partition);

            for (int number = 0; number < visits; number++) {
                visit(producer, replies, prefix, replyTopic);
            }
        }
    }

    /** Shows one visitor what was decided, and reports a click or that the visitor left. */
    private static void visit(
            KafkaProducer<String, String> producer,
            KafkaConsumer<String, String> replies,
            String prefix,
            String replyTopic)
            throws Exception {
        String eventId = UUID.randomUUID().toString();
        String correlationId = UUID.randomUUID().toString();
        String request = "{\"v\":1,\"event_id\":\"" + eventId + "\",\"placement\":\"front\","
                + "\"context\":{\"user\":{\"age\":34}},"
                + "\"actions\":[{\"id\":\"boots\"},{\"id\":\"hat\"}]}";
        ProducerRecord<String, String> asked = new ProducerRecord<>(prefix + "decision-requests", eventId, request);
        asked.headers().add("reply-topic", replyTopic.getBytes());
        asked.headers().add("correlation-id", correlationId.getBytes());
        asked.headers().add("expires-ms", "2500".getBytes());
        producer.send(asked).get();

        String reply = reply(replies, correlationId, Duration.ofSeconds(5));
        Matcher chosen = CHOSEN.matcher(reply == null ? "" : reply);
        if (!chosen.find()) {
            System.out.println("{\"chosen\":\"hat\",\"default\":true}");
            return;
        }
        System.out.println(reply);
        boolean clicked = Math.random() < (chosen.group(1).equals("boots") ? 0.9 : 0.1);
        String event = "{\"v\":1,\"id\":\"" + UUID.randomUUID() + "\",\"event_id\":\"" + eventId + "\"}";
        producer.send(new ProducerRecord<>(prefix + (clicked ? "clicks" : "leaves"), eventId, event)).get();
    }

    /** Returns the reply with this correlation id, or null when none came in time. */
    private static String reply(KafkaConsumer<String, String> replies, String correlationId, Duration patience) {
        long end = System.nanoTime() + patience.toNanos();
        while (System.nanoTime() < end) {
            for (ConsumerRecord<String, String> record : replies.poll(Duration.ofMillis(100))) {
                Header header = record.headers().lastHeader("correlation-id");
                if (header != null && correlationId.equals(new String(header.value()))) {
                    return record.value();
                }
            }
        }
        return null;
    }
}
